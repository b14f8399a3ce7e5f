# DuckDB on an Arrow table in memory. Reads commands, a line each, and answers with
# a line each: "time SQL" with nanoseconds, "check FILE SQL" with "equal" or why not.
import sys, time
import duckdb, pyarrow as pa

def table(path):
    with pa.OSFile(path, "rb") as file:  # read, not mapped: nothing is left to be loaded later
        return pa.ipc.open_file(file).read_all()

def plain(t):
    # An instant without a zone is the same 64 bits; with one DuckDB asks its calendar.
    for i, field in enumerate(t.schema):
        if pa.types.is_timestamp(field.type):
            t = t.set_column(i, field.name, t.column(i).cast(pa.timestamp("us")))
    return t

events = plain(table(sys.argv[1]))
con = duckdb.connect()
con.execute("SET preserve_insertion_order = false")
con.execute("SET enable_progress_bar = false")
con.register("events", events)
threads = con.sql("SELECT current_setting('threads')").fetchall()[0][0]
print(f"{duckdb.__version__} ({threads} threads), pyarrow {pa.__version__}", flush=True)
for line in sys.stdin:
    command, rest = line.rstrip("\n").split(" ", 1)
    if command == "time":
        started = time.perf_counter_ns()
        answers = con.sql(rest).to_arrow_table()
        took = time.perf_counter_ns() - started
        del answers
        print(took, flush=True)
        continue
    path, query = rest.split(" ", 1)
    con.register("lake", plain(table(path)))
    count = "SELECT count(*), sum(hash(answer)) FROM (%s) AS answer"  # of whole rows, in any order
    ours, theirs = (con.sql(count % query).fetchall()[0] for query in ("SELECT * FROM lake", query))
    con.unregister("lake")
    print("equal" if ours == theirs else f"lake has {ours}, DuckDB {theirs} (answers, sum of their hashes)", flush=True)
