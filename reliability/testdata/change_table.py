"""Changes a table's snapshots as another engine does: by pyiceberg.

usage: change_table.py CATALOG_DB TABLE expire-all | rollback-to SNAPSHOT | set-current SNAPSHOT
"""

import sys

from pyiceberg.catalog.sql import SqlCatalog


def main(catalog_db, name, what, *snapshot):
    table = SqlCatalog("lake", uri=f"sqlite:///{catalog_db}").load_table(name)
    if what == "expire-all":
        head = table.current_snapshot().snapshot_id
        old = [s.snapshot_id for s in table.snapshots() if s.snapshot_id != head]
        table.maintenance.expire_snapshots().by_ids(old).commit()
    elif what == "rollback-to":
        table.manage_snapshots().rollback_to_snapshot(int(snapshot[0])).commit()
    elif what == "set-current":
        table.manage_snapshots().set_current_snapshot(int(snapshot[0])).commit()
    else:
        raise SystemExit(__doc__)


main(*sys.argv[1:])
