"""The works of make bench by Spark, local[2]: with_spark.py flat|nested INPUT FOLDER, with_spark.py rewrite CATALOG WAREHOUSE TABLE, or with_spark.py version.

CATALOG is lake's catalog of SQLite, in which Spark rewrites the very table. JARS in the environment has the jars of Iceberg and
SQLite, with commas between them. What the work takes without Spark's start is said at the end.
"""
import os
import sys
import time

import pyspark
from pyspark.sql import SparkSession

what, *rest = sys.argv[1:]
if what == "version":
    print(pyspark.__version__)
    sys.exit()
builder = (
    SparkSession.builder.master("local[2]")
    .config("spark.driver.memory", "4g")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.sql.parquet.compression.codec", "zstd")
    .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    .config("spark.sql.session.timeZone", "Asia/Kolkata" if what == "flat" else "UTC")
)
if what == "rewrite":
    builder = (
        builder.config("spark.jars", os.environ["JARS"])
        .config("spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions")
        .config("spark.sql.catalog.lake", "org.apache.iceberg.spark.SparkCatalog")
        .config("spark.sql.catalog.lake.type", "jdbc")
        .config("spark.sql.catalog.lake.uri", "jdbc:sqlite:" + rest[0])
        .config("spark.sql.catalog.lake.jdbc.schema-version", "V1")
        .config("spark.sql.catalog.lake.warehouse", rest[1])
    )
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
started = time.time()
if what == "rewrite":
    spark.sql(f"CALL lake.system.rewrite_data_files(table => '{rest[2]}', options => map('min-input-files', '2', 'max-concurrent-file-group-rewrites', '2'))").show()
else:
    schema, moment = "user_id BIGINT, property_id BIGINT, date TIMESTAMP, event STRING", "date"
    if what == "nested":
        schema, moment = (
            "event_id STRING, ts TIMESTAMP, user STRUCT<id: BIGINT, country: STRING, plan: STRING>, "
            "page STRUCT<url: STRING, referrer: STRING, ms: INT>, session_id STRING, "
            "device STRUCT<os: STRING, browser: STRING, screen: ARRAY<INT>>, "
            "items ARRAY<STRUCT<sku: STRING, price: DECIMAL(10, 2), qty: INT>>, tags ARRAY<STRING>, props MAP<STRING, STRING>, "
            "gps STRUCT<lat: DOUBLE, lon: DOUBLE>"
        ), "ts"
    read = spark.read.schema(schema)
    if what == "flat":
        read = read.option("timestampFormat", "yyyy-MM-dd HH:mm:ss")
    events = read.json(rest[0])
    events.withColumn("dt", events[moment].cast("date")).write.mode("overwrite").partitionBy("dt").parquet(rest[1])
print(f"inside {time.time() - started:.2f} s")
# The JVM is waited for, so that its memory is in this process's account.
gateway = spark.sparkContext._gateway
spark.stop()
gateway.shutdown()
gateway.proc.stdin.close()
gateway.proc.wait()
