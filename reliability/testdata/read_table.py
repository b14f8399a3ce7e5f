"""Reads a table without lake: what every snapshot holds, and who owned it when.

usage: read_table.py METADATA_JSON COLUMNS

Prints one JSON document:
  snapshots  oldest first: id, parent, sequence, summary, files (numbers)
  records    the properties lake.shard.* of every version of the metadata that is
             still there, oldest first
  files      path, and the rows as DuckDB reads them from the file alone
  rows       the newest snapshot as pyiceberg reads it
  missing    files that a snapshot refers to and that are not there
COLUMNS is a list of column names, separated by commas.
"""

import json
import os
import sys
import urllib.parse

import duckdb
import pyarrow as pa
from pyiceberg.table import StaticTable


def local(uri):
    """The path of a file URI as lake writes it."""
    path = uri.removeprefix("file://")
    return path if os.path.exists(path) else urllib.parse.unquote(path)


def plain(table, columns):
    """The rows of an Arrow table, times as microseconds, dates as text."""
    lists = []
    for name in columns:
        column = table.column(name)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
        elif pa.types.is_date(column.type):
            column = column.cast(pa.string())
        lists.append(column.to_pylist())
    return [list(row) for row in zip(*lists)]


def main(location, columns):
    columns = columns.split(",")
    table = StaticTable.from_metadata(location)
    files, numbers, missing, manifests = [], {}, [], {}

    def number(uri):
        if uri not in numbers:
            numbers[uri] = len(files)
            files.append({"path": uri, "rows": []})
        return numbers[uri]

    def gone(uri):
        if os.path.exists(local(uri)):
            return False
        missing.append(uri)
        return True

    snapshots = []
    for s in sorted(table.snapshots(), key=lambda s: s.sequence_number):
        live = []
        lists = [] if gone(s.manifest_list) else s.manifests(table.io)
        for m in lists:
            if gone(m.manifest_path):
                continue
            if m.manifest_path not in manifests:
                manifests[m.manifest_path] = [
                    number(e.data_file.file_path) for e in m.fetch_manifest_entry(table.io, discard_deleted=True)
                ]
            live += manifests[m.manifest_path]
        summary = {k: v for k, v in s.summary.additional_properties.items()} if s.summary else {}
        snapshots.append(
            {"id": s.snapshot_id, "parent": s.parent_snapshot_id or 0, "sequence": s.sequence_number,
             "operation": s.summary.operation.value if s.summary else "", "summary": summary, "files": live}
        )

    there = []
    for f in files:
        if os.path.exists(local(f["path"])):
            there.append(f)
        else:
            missing.append(f["path"])
    connection = duckdb.connect()
    connection.sql("SET TimeZone = 'UTC'")
    by_path = {local(f["path"]): f for f in there}
    for start in range(0, len(there), 200):
        some = [local(f["path"]) for f in there[start : start + 200]]
        names = ", ".join(f'"{c}"' for c in columns)
        read = connection.sql(
            f"SELECT filename, {names} FROM read_parquet({some!r}, hive_partitioning = false, union_by_name = true, filename = true)"
        ).to_arrow_table()
        for name, row in zip(read.column("filename").to_pylist(), plain(read, columns)):
            by_path[name]["rows"].append(row)

    rows = []
    if table.current_snapshot() is not None and not missing:
        rows = plain(table.scan(selected_fields=tuple(columns)).to_arrow(), columns)

    records = []
    for at in [e.metadata_file for e in table.metadata.metadata_log] + [location]:
        if os.path.exists(local(at)):
            with open(local(at)) as f:
                doc = json.load(f)
            records.append({k: json.loads(v) for k, v in doc["properties"].items() if k.startswith("lake.shard.")})

    current = table.current_snapshot()
    json.dump(
        {"current": current.snapshot_id if current else 0, "snapshots": snapshots, "records": records,
         "files": files, "rows": rows, "missing": missing},
        sys.stdout,
    )


main(*sys.argv[1:])
