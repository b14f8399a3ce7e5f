"""What Spark SQL answers over the tables of a Hive Metastore: for each line of
the input, which is a statement, a JSON list of rows.

usage: spark_hive.py METASTORE JARS
"""
import json
import os
import sys

os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
from pyspark.sql import SparkSession

metastore, jars = sys.argv[1:]
spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.driver.memory", "1g")
    .config("spark.ui.enabled", "false")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.jars", jars)
    .config("spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions")
    .config("spark.sql.catalog.hv", "org.apache.iceberg.spark.SparkCatalog")
    .config("spark.sql.catalog.hv.type", "hive")
    .config("spark.sql.catalog.hv.uri", metastore)
    .config("spark.sql.catalog.hv.cache-enabled", "false")  # others commit in between
    .config("spark.sql.catalogImplementation", "in-memory")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")
for statement in sys.stdin:
    print("ROWS", json.dumps([list(row) for row in spark.sql(statement).collect()], default=str), flush=True)
spark.stop()
