"""The job of `rate`, by Spark Structured Streaming: JSON of a topic to partitioned Parquet, and three rules
out to topics, whose names have a prefix; all that is there, a million records a trigger.

spark.py BROKER FOLDER JARS PREFIX
"""
import sys
import time

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, count, from_json, struct, to_date, to_json, window

broker, folder, jars, prefix = sys.argv[1:]
spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.jars", jars)
    .config("spark.driver.memory", "4g")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.ui.enabled", "false")
    .config("spark.ui.showConsoleProgress", "false")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.sql.parquet.compression.codec", "zstd")
    .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    .config("spark.sql.session.timeZone", "Asia/Kolkata")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")
started = time.time()


def events():
    return (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", broker)
        .option("subscribe", "Events")
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", 1_000_000)
        .load()
        .select(from_json(col("value").cast("string"), "user_id BIGINT, property_id BIGINT, date TIMESTAMP, event STRING",
                          {"timestampFormat": "yyyy-MM-dd HH:mm:ss"}).alias("e"))
        .select("e.*")
    )


def answers(name, counted, *columns):
    return (
        counted.select(to_json(struct(*columns, "n")).alias("value"))
        .writeStream.format("kafka")
        .option("kafka.bootstrap.servers", broker)
        .option("topic", prefix + name)
        .option("checkpointLocation", f"{folder}/checkpoint-{name}")
        .outputMode("update")
        .trigger(availableNow=True)
        .start()
    )


interactions = events().where("event = 'Interaction'")
queries = [
    events().withColumn("dt", to_date("date")).writeStream.format("parquet").partitionBy("dt").option("path", folder + "/out")
    .option("checkpointLocation", folder + "/checkpoint").trigger(availableNow=True).start(),
    answers("paid_user", interactions.groupBy(col("user_id").alias("user")).agg(count("*").alias("n")).where("n >= 9"), "user"),
    answers("property_status", interactions.groupBy(col("property_id").alias("property")).agg(count("*").alias("n")).where("n > 5"), "property"),
    answers("possible_broker", interactions.withWatermark("date", "1 hour").groupBy(window("date", "1 minute"), "user_id").agg(count("*").alias("n"))
            .where("n > 10").withColumn("w", col("window.start")), "w", "user_id"),
]
for query in queries:
    query.awaitTermination()
print(f"inside {time.time() - started:.2f} s")
# The JVM is waited for, so that its memory is in this process's account.
gateway = spark.sparkContext._gateway
spark.stop()
gateway.shutdown()
gateway.proc.stdin.close()
gateway.proc.wait()
