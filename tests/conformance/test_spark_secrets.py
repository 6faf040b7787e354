"""A secret reaches the workers that need it, and leaves no trace anywhere that Spark writes or shows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aiq.simulator.process import SimulatorProcess
from tests.conftest import ConfFolder

KEY = "sk-planted-4f9a81c3d7"
PROGRAM = """
import json, sys, urllib.request
from pathlib import Path
import aiq
from pyspark.sql import SparkSession

conf, home, out = map(Path, sys.argv[1:])
builder = SparkSession.builder.master("local[2]").appName("secrets")
for name, value in {
    "spark.ui.enabled": "true", "spark.ui.port": "0", "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1",
    "spark.eventLog.enabled": "true", "spark.eventLog.compress": "false", "spark.eventLog.dir": f"file://{out}/events",
    "spark.sql.warehouse.dir": str(out / "warehouse"), "spark.sql.shuffle.partitions": "2",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
}.items():
    builder = builder.config(name, value)
(out / "events").mkdir()
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("INFO")
aiq.register(spark, conf=conf, home=home, user="ann@example.com")
rows = spark.range(0, 6, 1, 2).selectExpr("concat('Question ', id) AS p")
rows.createOrReplaceTempView("t")
plain = spark.sql("SELECT p, ai_query('chat', p, failOnError => false) AS a FROM t ORDER BY a")
frames = [plain, aiq.enrich(rows, "a", "chat", "p"), rows.select(aiq.functions.ai_query("chat", "p"))]
for number, frame in enumerate(frames):
    assert len(frame.collect()) == 6
    (out / f"plan-{number}.txt").write_text(frame._jdf.queryExecution().toString())
base = spark.sparkContext.uiWebUrl + "/api/v1/applications/" + spark.sparkContext.applicationId
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for page in ("environment", "jobs", "stages", "allexecutors", "sql?details=true&planDescription=true"):
    (out / (page.partition("?")[0] + ".json")).write_bytes(opener.open(f"{base}/{page}").read())
(out / "page.html").write_bytes(opener.open(spark.sparkContext.uiWebUrl + "/environment/").read())
spark.stop()
"""


@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java (apt-get install default-jre-headless)")
@pytest.mark.timeout(400)
def test_a_secret_is_in_no_plan_no_event_log_no_page_and_no_log(
    conf: ConfFolder, home: Path, tmp_path: Path, simulator: SimulatorProcess
) -> None:
    secret = home / "secrets" / "openai" / "key"
    secret.parent.mkdir(parents=True)
    secret.write_text(KEY)
    secret.chmod(0o600)
    for path in (conf.path / "endpoints").glob("*.yml"):
        path.unlink()
    conf.settings()
    conf.endpoint("chat", conf.entity("main", "gpt-4o-mini", key="{{secrets/openai/key}}"))
    out = tmp_path / "out"
    out.mkdir()
    environ = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    with (out / "log.txt").open("wb") as log:
        command = [sys.executable, "-c", PROGRAM, str(conf.path), str(home), str(out)]
        done = subprocess.run(command, env=environ, stdout=log, stderr=log, timeout=380)
    assert done.returncode == 0, (out / "log.txt").read_text()[-3000:]
    assert {attempt["key"] for attempt in simulator.attempts()} == {KEY[-4:]}
    written = [path for folder in (out, home) for path in folder.rglob("*") if path.is_file() and path != secret]
    assert any("events" in str(path) for path in written) and (out / "environment.json").stat().st_size > 1000
    assert [path for path in written if KEY.encode() in path.read_bytes()] == []
    assert b"secrets/openai/key" not in (out / "environment.json").read_bytes()
