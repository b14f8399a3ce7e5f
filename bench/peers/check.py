"""Compares what lake and a peer made, by DuckDB: check.py flat|sorted|nested LAKE PEER. Ends with 1 where they differ.

LAKE and PEER are a file with a list of Parquet files (JSON), or a folder. For each date the rows are counted and each
column is hashed, whatever type a writer chose: an instant is shown on the events' clock, an id as its text, a map or a
struct by its keys. So an order of rows, or of files, makes no difference; but sorted are the flat events by user within each file.
"""
import json
import os
import sys

import duckdb

what, *sides = sys.argv[1:]
duckdb.sql("SET TimeZone = 'UTC'")
keys = ["bucket", "campaign", "currency", "experiment", "locale", "referral", "source", "theme"]


def moment(column, type, zone):
    return f"epoch_us(timezone('{zone}', {column}))" if "TIME ZONE" in type else f"epoch_us({column})"


def answer(side):
    files = [side + "/**/*.parquet"] if os.path.isdir(side) else json.load(open(side))
    source = f"read_parquet({files}, hive_partitioning = true)"
    types = {row[0]: row[1] for row in duckdb.sql(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    if what == "sorted":
        falls = duckdb.sql(f"""SELECT count(*) FROM (SELECT user_id < lag(user_id) OVER (PARTITION BY filename ORDER BY file_row_number) AS falls
          FROM read_parquet({files}, filename = true, file_row_number = true)) WHERE falls""").fetchall()
        if falls != [(0,)]:
            sys.exit(f"{side}: rows that are less than the one before: {falls}")
    if what in ("flat", "sorted"):
        columns = ["user_id", "property_id", moment("date", types["date"], "Asia/Kolkata"), "event"]
    else:
        of = "props['{}']" if types["props"].startswith("MAP") else "props.{}"
        columns = ["event_id::VARCHAR", moment("ts", types["ts"], "UTC"), "user.id", "user.country", "user.plan", "page.url", "page.referrer", "page.ms::BIGINT",
                   "session_id", "device.os", "device.browser", "device.screen::VARCHAR", "tags::VARCHAR", "gps.lat", "gps.lon",
                   "list_transform(items, lambda i: [i.sku, i.price::DECIMAL(10,2)::VARCHAR, i.qty::VARCHAR])::VARCHAR"] + [of.format(key) for key in keys]
        if types["props"].startswith("MAP"):
            unknown = duckdb.sql(f"SELECT count(*) FROM {source} WHERE len(list_filter(map_keys(props), lambda k: k NOT IN {tuple(keys)})) > 0").fetchall()
            if unknown != [(0,)]:
                sys.exit(f"props has keys that are not compared: {unknown}")
    hashes = ", ".join(f"sum(hash({column})::HUGEINT), count({column})" for column in columns)
    return duckdb.sql(f"SELECT dt::VARCHAR, count(*), {hashes} FROM {source} GROUP BY 1 ORDER BY 1").fetchall()


lake, peer = (answer(side) for side in sides)
if lake != peer:
    first = next((pair for pair in zip(lake, peer) if pair[0] != pair[1]), (len(lake), len(peer)))
    sys.exit(f"the outputs differ: lake {first[0]}, the peer {first[1]}")
print(len(lake), "dates,", sum(row[1] for row in lake), "rows agree")
