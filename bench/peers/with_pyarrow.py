"""The works of make bench by pyarrow: with_pyarrow.py flat|nested INPUT FOLDER, or with_pyarrow.py version.

Its JSON reader has neither UUID nor map: the ids stay texts and props is a struct of the keys that the events have.
"""
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.json as pj

what, *rest = sys.argv[1:]
if what == "version":
    print(pa.__version__)
    sys.exit()
source, folder = rest
text, big, small, floating = pa.string(), pa.int64(), pa.int32(), pa.float64()
if what == "flat":
    schema, time = pa.schema({"user_id": big, "property_id": big, "date": pa.timestamp("us"), "event": text}), "date"
elif what == "nested":
    keys = ["bucket", "campaign", "currency", "experiment", "locale", "referral", "source", "theme"]
    schema, time = pa.schema({
        "event_id": text, "ts": pa.timestamp("us", "UTC"), "user": pa.struct({"id": big, "country": text, "plan": text}),
        "page": pa.struct({"url": text, "referrer": text, "ms": small}), "session_id": text,
        "device": pa.struct({"os": text, "browser": text, "screen": pa.list_(small)}),
        "items": pa.list_(pa.struct({"sku": text, "price": floating, "qty": small})), "tags": pa.list_(text),
        "props": pa.struct({key: text for key in keys}), "gps": pa.struct({"lat": floating, "lon": floating}),
    }), "ts"
else:
    sys.exit(__doc__)
rows = pj.read_json(source, pj.ReadOptions(block_size=8 << 20), pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"))
if what == "nested":
    priced = pa.list_(pa.struct({"sku": text, "price": pa.decimal128(10, 2), "qty": small}))
    place = rows.schema.get_field_index("items")
    rows = rows.set_column(place, "items", rows["items"].cast(priced))
rows = rows.append_column("dt", rows[time].cast(pa.date32(), safe=False))
format = ds.ParquetFileFormat()
ds.write_dataset(rows, folder, format=format, file_options=format.make_write_options(compression="zstd"),
                 partitioning=ds.partitioning(pa.schema({"dt": pa.date32()}), flavor="hive"), existing_data_behavior="delete_matching")
