"""Reads a remote table of lake with pyiceberg, from its metadata file on, and
prints its rows as JSON: how many, how many different n, their sum.

usage: read_remote.py METADATA_LOCATION PROPERTIES_JSON
"""

import json
import sys

import pyarrow.compute as pc
from pyiceberg.table import StaticTable


def main(location, properties):
    rows = StaticTable.from_metadata(location, json.loads(properties)).scan().to_arrow()
    n = rows["n"]
    print(json.dumps([len(n), pc.count_distinct(n).as_py(), pc.sum(n).as_py()]))


main(*sys.argv[1:])
