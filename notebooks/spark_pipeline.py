"""Reviews in, summaries out: a batch pipeline and a stream on plain PySpark, between two Delta tables.

Only new and changed rows are asked: a row is known by the hash of its prompt, so a changed prompt counts as well. Rows
that failed are asked again by the next run. Both ways share `upsert`, which may be repeated: what a run that was cut
off had written is not asked for again, and what it was answered is not paid again.

    export AIQ_CONF=/shared/conf AIQ_HOME=/shared/home
    spark-submit --packages io.delta:delta-spark_4.1_2.13:4.1.0 spark_pipeline.py batch /data/reviews /data/summaries
    spark-submit --packages io.delta:delta-spark_4.1_2.13:4.1.0 spark_pipeline.py stream /data/reviews /data/summaries
"""

from __future__ import annotations

import sys

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

import aiq

ENDPOINT = "chat"


def prompt() -> Column:
    """What a row is asked. A function, because a column needs the session that `main` starts."""
    return F.concat(F.lit("Summarise in one sentence: "), F.col("body"))


def upsert(reviews: DataFrame, target: str) -> None:
    """Asks for the rows (`id`, `body`, one row an id) that `target` has no answer for, and merges them into it."""
    hashed = reviews.select("id", "body", F.sha2(F.coalesce(prompt(), F.lit("")), 256).alias("prompt_hash"))
    known = DeltaTable.forPath(reviews.sparkSession, target).toDF().where("error IS NULL").select("id", "prompt_hash")
    changed = hashed.join(known, ["id", "prompt_hash"], "left_anti")
    asked = aiq.enrich(changed, "answer", ENDPOINT, prompt(), fail_on_error=False)
    rows = asked.select("id", "prompt_hash", F.col("answer.result").alias("summary"), "answer.errorMessage")
    merge = DeltaTable.forPath(reviews.sparkSession, target).alias("t")
    merge = merge.merge(rows.withColumnRenamed("errorMessage", "error").alias("s"), "t.id = s.id")
    merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()


def batch(spark: SparkSession, source: str, target: str) -> None:
    """One run over the whole source. Run it as often as you like."""
    upsert(spark.read.format("delta").load(source), target)


def stream(spark: SparkSession, source: str, target: str, checkpoint: str) -> None:
    """What was appended to the source since the last run; without `trigger` it goes on for ever."""
    reviews = spark.readStream.format("delta").option("maxFilesPerTrigger", 100).load(source)
    writer = reviews.writeStream.foreachBatch(lambda rows, _: upsert(rows, target))
    writer.option("checkpointLocation", checkpoint).trigger(availableNow=True).start().awaitTermination()


def create_target(spark: SparkSession, target: str) -> None:
    """The table of the answers, if it is not there yet."""
    table = DeltaTable.createIfNotExists(spark).location(target).addColumn("id", "BIGINT")
    table.addColumn("prompt_hash", "STRING").addColumn("summary", "STRING").addColumn("error", "STRING").execute()


def main() -> None:
    how, source, target = sys.argv[1:4]
    spark = (
        SparkSession.builder.appName("review summaries")
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        .getOrCreate()
    )
    aiq.register(spark)  # conf and home: $AIQ_CONF and $AIQ_HOME
    create_target(spark, target)
    if how == "batch":
        batch(spark, source, target)
    else:
        stream(spark, source, target, checkpoint=f"{target}-checkpoint")
    spark.stop()


if __name__ == "__main__":
    main()
