"""The works of make bench by polars' streaming engine: with_polars.py flat|nested INPUT FOLDER, or with_polars.py version.

polars has neither UUID nor map: the ids stay texts and props is a struct of the keys that the events have.
"""
import sys

import polars as pl

what, *rest = sys.argv[1:]
if what == "version":
    print(pl.__version__)
    sys.exit()
source, folder = rest
text, big, small = pl.String, pl.Int64, pl.Int32
if what == "flat":
    rows = pl.scan_ndjson(source, schema={"user_id": big, "property_id": big, "date": text, "event": text})
    rows = rows.with_columns(date=pl.col("date").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us"))
    rows = rows.with_columns(dt=pl.col("date").dt.date())
elif what == "nested":
    keys = ["bucket", "campaign", "currency", "experiment", "locale", "referral", "source", "theme"]
    rows = pl.scan_ndjson(source, schema={
        "event_id": text, "ts": text, "user": pl.Struct({"id": big, "country": text, "plan": text}),
        "page": pl.Struct({"url": text, "referrer": text, "ms": small}), "session_id": text,
        "device": pl.Struct({"os": text, "browser": text, "screen": pl.List(small)}),
        "items": pl.List(pl.Struct({"sku": text, "price": pl.Float64, "qty": small})), "tags": pl.List(text),
        "props": pl.Struct({key: text for key in keys}), "gps": pl.Struct({"lat": pl.Float64, "lon": pl.Float64}),
    })
    rows = rows.with_columns(
        ts=pl.col("ts").str.to_datetime("%Y-%m-%dT%H:%M:%S%.3fZ", time_unit="us", time_zone="UTC"),
        items=pl.col("items").cast(pl.List(pl.Struct({"sku": text, "price": pl.Decimal(10, 2), "qty": small}))),
    )
    rows = rows.with_columns(dt=pl.col("ts").dt.date())
else:
    sys.exit(__doc__)
rows.sink_parquet(pl.PartitionBy(folder, key="dt", include_key=False), compression="zstd", mkdir=True, maintain_order=False)
