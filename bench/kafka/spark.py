"""The job of `rate`, by Spark Structured Streaming: JSON of a topic to partitioned Parquet, all that is there.

spark.py BROKER FOLDER JARS
"""
import sys

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, from_json, to_date, to_timestamp

broker, folder, jars = sys.argv[1:]
spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.jars", jars)
    .config("spark.driver.memory", "2g")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.sql.parquet.compression.codec", "zstd")
    .config("spark.sql.session.timeZone", "Asia/Kolkata")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")
events = (
    spark.readStream.format("kafka")
    .option("kafka.bootstrap.servers", broker)
    .option("subscribe", "Events")
    .option("startingOffsets", "earliest")
    .load()
    .select(from_json(col("value").cast("string"), "user_id BIGINT, property_id BIGINT, date STRING, event STRING").alias("e"))
    .select("e.*")
    .withColumn("date", to_timestamp("date", "yyyy-MM-dd HH:mm:ss"))
    .withColumn("dt", to_date("date"))
)
(
    events.writeStream.format("parquet")
    .partitionBy("dt")
    .option("path", folder + "/out")
    .option("checkpointLocation", folder + "/checkpoint")
    .trigger(availableNow=True)
    .start()
    .awaitTermination()
)
