"""Spark Connect: the same registration, from a client that has no JVM of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aiq.simulator.process import SimulatorProcess
from tests.conftest import ConfFolder

PROGRAM = """
import sys
import aiq
from pyspark.sql import SparkSession

conf, home = sys.argv[1:]
builder = SparkSession.builder.remote("local[2]").config("spark.sql.shuffle.partitions", "2")
spark = builder.config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1").getOrCreate()
assert "connect" in type(spark).__module__
aiq.register(spark, conf=conf, home=home, user="ann@example.com")
spark.range(0, 20, 1, 2).selectExpr("concat('Question ', id) AS p").createOrReplaceTempView("t")
text = "SELECT ai_query('chat', p, modelParameters => named_struct('max_tokens', 9)) AS a FROM t ORDER BY a"
frames = [
    spark.sql(text),
    spark.table("t").select(aiq.functions.ai_query("chat", "p").alias("a")),
    aiq.enrich(spark.table("t"), "a", "chat", "p"),
]
for frame in frames:
    assert sum(row.a is not None for row in frame.collect()) == 20
assert {"system_aiq_calls", "system_serving_endpoint_usage", "main_ai_chat_payload"} <= set(aiq.ledger_views(spark))
assert spark.table("system_aiq_calls").where("status = 'ok'").count() == 60
assert spark.table("main_ai_chat_payload").count() == 60
spark.stop()
"""


@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java (apt-get install default-jre-headless)")
@pytest.mark.timeout(400)
def test_every_way_works_over_connect_pays_once_and_is_in_the_ledger(
    conf: ConfFolder, home: Path, tmp_path: Path, simulator: SimulatorProcess
) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(conf.path), str(home)]
    environ = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=380)
    assert done.returncode == 0, done.stderr[-3000:]
    assert simulator.stats()["requests"] == 60
