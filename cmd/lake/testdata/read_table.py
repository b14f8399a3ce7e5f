"""Reads a table of lake with other engines and prints what they see as JSON lines.

usage: read_table.py CATALOG_DB TABLE FILES_JSON QUERY...

pyiceberg reads the table by its catalog; DuckDB reads the snapshot's file list.
Each QUERY is asked of both, where $T is the table: a line of pyiceberg's rows, a
line of DuckDB's.
"""

import json
import sys

import duckdb
from pyiceberg.catalog.sql import SqlCatalog


def main(catalog_db, name, files_json, *queries):
    catalog = SqlCatalog("lake", uri=f"sqlite:///{catalog_db}")
    t = catalog.load_table(name).scan().to_arrow()
    files = [f["path"].removeprefix("file://") for f in json.loads(files_json)]
    connection = duckdb.connect()
    connection.sql("SET TimeZone = 'UTC'")
    connection.register("iceberg", t)
    connection.sql(f"CREATE VIEW parquet AS SELECT * FROM read_parquet({files!r}, hive_partitioning = false, union_by_name = true)")
    for query in queries:
        for view in ("iceberg", "parquet"):
            rows = connection.sql(query.replace("$T", view)).fetchall()
            print(json.dumps([[str(cell) for cell in row] for row in rows]))


main(*sys.argv[1:])
