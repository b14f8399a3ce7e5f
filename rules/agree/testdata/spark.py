"""Answers queries on Spark, a JSON object a line in and out: {"load": folder or
file of Parquet} makes the view events, {"sql": query} gives {"rows": [[text]]} or
{"error": text}."""
import json
import os
import sys

os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
from pyspark.sql import SparkSession

spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.driver.memory", "1g")
    .config("spark.ui.enabled", "false")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
    .config("spark.sql.shuffle.partitions", "1")
    .config("spark.sql.adaptive.enabled", "false")
    .config("spark.sql.codegen.wholeStage", "false")
    .config("spark.sql.catalogImplementation", "in-memory")
    # The session's zone is an odd one: the printed queries may not depend on it.
    .config("spark.sql.session.timeZone", "Australia/Lord_Howe")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("OFF")
print("READY", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    try:
        if "load" in asked:
            spark.read.parquet(asked["load"]).coalesce(1).cache().createOrReplaceTempView("events")
            answer = {"rows": []}
        elif "set" in asked:
            spark.sql(asked["set"])
            answer = {"rows": []}
        else:
            answer = {"rows": [list(row) for row in spark.sql(asked["sql"]).collect()]}
    except Exception as e:
        answer = {"error": str(e)[:2000]}
    print("ANSWER " + json.dumps(answer), flush=True)
spark.stop()
