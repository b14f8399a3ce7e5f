"""Changes a table as another engine does: by pyiceberg.

usage: change_table.py CATALOG_DB TABLE expire-all | rollback-to SNAPSHOT | set-current SNAPSHOT |
       drop-column NAME | rename-column NAME NEW
"""

import sys

from pyiceberg.catalog.sql import SqlCatalog


def main(catalog_db, name, what, *args):
    table = SqlCatalog("lake", uri=f"sqlite:///{catalog_db}").load_table(name)
    if what == "expire-all":
        head = table.current_snapshot().snapshot_id
        old = [s.snapshot_id for s in table.snapshots() if s.snapshot_id != head]
        table.maintenance.expire_snapshots().by_ids(old).commit()
    elif what == "rollback-to":
        table.manage_snapshots().rollback_to_snapshot(int(args[0])).commit()
    elif what == "set-current":
        table.manage_snapshots().set_current_snapshot(int(args[0])).commit()
    elif what == "drop-column":
        with table.update_schema(allow_incompatible_changes=True) as update:
            update.delete_column(args[0])
    elif what == "rename-column":
        with table.update_schema() as update:
            update.rename_column(args[0], args[1])
    else:
        raise SystemExit(__doc__)


main(*sys.argv[1:])
