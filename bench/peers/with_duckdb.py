"""The works of make bench by DuckDB: with_duckdb.py flat|nested|compact|sorted INPUT FOLDER, or with_duckdb.py version|count INPUT.

INPUT is a file of JSON lines or a file with a list of Parquet files (JSON). The dates are those of the events' own clock.
"""
import json
import sys

import duckdb

what, *rest = sys.argv[1:]
if what != "sorted":  # it would forget the order, too
    duckdb.sql("SET preserve_insertion_order = false")
duckdb.sql("SET TimeZone = 'UTC'")
if what == "version":
    print(duckdb.__version__)
    sys.exit()
source, target = rest


def copy(query):
    duckdb.sql(f"COPY ({query}) TO '{target}' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (dt), OVERWRITE true)")


if what == "flat":
    copy(f"""SELECT *, (date::TIMESTAMP)::DATE AS dt FROM read_json('{source}', format = 'newline_delimited',
      columns = {{user_id: 'BIGINT', property_id: 'BIGINT', date: 'TIMESTAMP', event: 'VARCHAR'}})""")
elif what == "nested":
    copy(f"""SELECT *, ts::DATE AS dt FROM read_json('{source}', format = 'newline_delimited', columns = {{
      event_id: 'UUID', ts: 'TIMESTAMPTZ', user: 'STRUCT(id BIGINT, country VARCHAR, plan VARCHAR)',
      page: 'STRUCT(url VARCHAR, referrer VARCHAR, ms INTEGER)', session_id: 'VARCHAR',
      device: 'STRUCT(os VARCHAR, browser VARCHAR, screen INTEGER[])',
      items: 'STRUCT(sku VARCHAR, price DECIMAL(10,2), qty INTEGER)[]', tags: 'VARCHAR[]', props: 'MAP(VARCHAR, VARCHAR)',
      gps: 'STRUCT(lat DOUBLE, lon DOUBLE)'}})""")
elif what in ("compact", "sorted"):
    files = json.load(open(source))
    copy(f"SELECT * FROM read_parquet({files})" + (" ORDER BY dt, user_id" if what == "sorted" else ""))
elif what == "count":
    print(duckdb.sql(f"SELECT count(*) FROM ({open(source).read().format(json.load(open(target)))})").fetchall())
else:
    sys.exit(__doc__)
