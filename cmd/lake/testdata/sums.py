"""What DuckDB answers over a table's rows that lake had no part in reading: those
that pyiceberg finds from a metadata file on, or those of Parquet files.

usage: sums.py METADATA_LOCATION PROPERTIES_JSON QUERY...
       sums.py - FILES_JSON QUERY...

Each QUERY asks $T. It prints a line of JSON for each: the first cells of its rows.
"""

import json
import sys

import duckdb
from pyiceberg.table import StaticTable


def main(location, given, *queries):
    connection = duckdb.connect()
    connection.sql("SET TimeZone = 'UTC'")
    if location == "-":
        connection.sql(f"CREATE VIEW t AS SELECT * FROM read_parquet({json.loads(given)!r}, hive_partitioning = false, union_by_name = true)")
    else:
        connection.register("t", StaticTable.from_metadata(location, json.loads(given)).scan().to_arrow())
    for query in queries:
        print(json.dumps([row[0] for row in connection.sql(query.replace("$T", "t")).fetchall()]))


main(*sys.argv[1:])
