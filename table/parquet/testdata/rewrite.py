"""Writes Parquet files anew, in the ways that other writers have: pyarrow, pyarrow
and DuckDB, or Spark. Each line of stdin is a file and a folder for its copies; an
empty answer is a copy for each way, an answer otherwise what went wrong."""
import os
import random
import sys


def by_pyarrow():
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    encodings = {
        "int": ["PLAIN", "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"],
        "float": ["PLAIN", "BYTE_STREAM_SPLIT"],
        "text": ["PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"],
        "fixed": ["PLAIN", "BYTE_STREAM_SPLIT", "DELTA_BYTE_ARRAY"],
        "bool": ["PLAIN", "RLE"],
    }

    def leaves(schema):
        for i in range(len(schema)):
            c = schema.column(i)
            kind = {"INT32": "int", "INT64": "int", "FLOAT": "float", "DOUBLE": "float", "BYTE_ARRAY": "text",
                    "FIXED_LEN_BYTE_ARRAY": "fixed", "BOOLEAN": "bool"}[c.physical_type]
            yield c.path, kind

    def rewrite(path, folder, r):
        file = pq.ParquetFile(path)
        table = file.read()
        for i, codec in enumerate(["none", "snappy", "gzip", "brotli", "zstd", "lz4"]):
            options = dict(compression=codec, data_page_version=r.choice(["1.0", "2.0"]), version=r.choice(["1.0", "2.4", "2.6"]),
                           data_page_size=r.choice([200, 10_000, 1 << 20]), row_group_size=r.choice([100, 10_000, 1 << 20]),
                           write_page_index=r.random() < 0.5, write_page_checksum=r.random() < 0.5,
                           store_decimal_as_integer=r.random() < 0.5, max_rows_per_page=r.choice([50, 20_000]))
            if r.random() < 0.5:
                options["use_dictionary"] = False
                options["column_encoding"] = {p: r.choice(encodings[k]) for p, k in leaves(file.schema) if k != "int" or options["version"] != "1.0"}
                if options["store_decimal_as_integer"]:
                    options["store_decimal_as_integer"] = False
                if any(pa.types.is_decimal(f.type) or pa.types.is_nested(f.type) for f in table.schema):
                    del options["column_encoding"]  # their leaves are not those of the file that was read
            else:
                options["dictionary_pagesize_limit"] = r.choice([100, 1 << 20])
            pq.write_table(table, os.path.join(folder, f"pyarrow-{i}.parquet"), **options)

    def by_duckdb(path, folder, r):
        for i, codec in enumerate(["uncompressed", "snappy", "gzip", "brotli", "zstd", "lz4_raw"]):
            duckdb.sql(f"""COPY (FROM read_parquet('{path}')) TO '{os.path.join(folder, f"duckdb-{i}.parquet")}'
                (FORMAT parquet, COMPRESSION {codec}, PARQUET_VERSION {r.choice(['V1', 'V2'])}, ROW_GROUP_SIZE {r.choice([2048, 122880])},
                 DICTIONARY_SIZE_LIMIT {r.choice([1, 100000])})""")

    def both(path, folder, r):
        rewrite(path, folder, r)
        by_duckdb(path, folder, r)

    return rewrite if sys.argv[1] == "pyarrow" else both


def by_spark():
    from pyspark.sql import SparkSession

    session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").config("spark.sql.session.timeZone", "UTC").config(
        "spark.sql.parquet.int96RebaseModeInWrite", "CORRECTED").config("spark.sql.parquet.datetimeRebaseModeInWrite", "CORRECTED").config(
        "spark.sql.parquet.datetimeRebaseModeInRead", "CORRECTED").config("spark.sql.parquet.inferTimestampNTZ.enabled", "true").config(
        "spark.driver.memory", "1g").getOrCreate()

    def rewrite(path, folder, r):
        for i, codec in enumerate(["snappy", "gzip", "zstd", "lz4_raw"]):
            session.conf.set("spark.sql.parquet.outputTimestampType", ["TIMESTAMP_MICROS", "INT96", "TIMESTAMP_MICROS", "TIMESTAMP_MICROS"][i])
            session.conf.set("spark.sql.parquet.writeLegacyFormat", "false")
            (session.read.parquet("file://" + path).coalesce(1).write.option("compression", codec)
             .option("parquet.writer.version", r.choice(["PARQUET_1_0", "PARQUET_2_0"])).option("parquet.enable.dictionary", r.choice(["true", "false"]))
             .option("parquet.page.size", r.choice(["512", "1048576"])).parquet(os.path.join("file://" + folder, f"spark-{i}")))
            out = os.path.join(folder, f"spark-{i}")
            part = [f for f in os.listdir(out) if f.endswith(".parquet")]
            os.rename(os.path.join(out, part[0]), out + ".parquet")

    return rewrite


if __name__ == "__main__":
    run = by_spark() if sys.argv[1] == "spark" else by_pyarrow()
    for n, line in enumerate(sys.stdin):
        path, folder = line.split()
        run(path, folder, random.Random(n))
    print("DONE")
