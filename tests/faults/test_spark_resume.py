"""Spark drivers that are killed and tasks that fail: what was answered is not paid again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import FaultRate, Latency, Profile
from tests.conftest import ConfFolder

pytestmark = [
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java (apt-get install default-jre-headless)"),
    pytest.mark.timeout(480),
]
CONCURRENCY, SLOTS = 16, 2
PROGRAM = """
import os, signal, sys
import aiq
from aiq.ledger.ledger import Ledger
from pyspark import TaskContext
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

conf, home, what, rows = sys.argv[1:]
builder = SparkSession.builder.master("local[2,3]").appName("aiq")
for name, value in {
    "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.sql.shuffle.partitions": "2",
    "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.sql.warehouse.dir": home + "/w",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
}.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("OFF")
aiq.register(spark, conf=conf, home=home, user="ann@example.com")
asked = spark.range(0, int(rows), 1, 2).select(F.concat(F.lit("Question "), "id").alias("p"))

@F.udf("string")
def stumble(answer):
    if TaskContext.get().attemptNumber() == 0:
        raise RuntimeError("this task fails once")
    return answer

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if what.startswith("session"):
    session = aiq.connect(spark, conf=conf, home=home, user="ann@example.com")
    asked.createOrReplaceTempView("asked")
    text = "SELECT ai_query('chat', p) AS a FROM asked"
    how = what.partition(" ")[2]
    if how == "before the ledger's commit":
        Ledger.commit = die
    if how == "between two batches":
        batches = session.stream(text, batch_rows=10)
        next(batches)
        session.sql("SELECT ai_query('chat', 'Another.')")
        die()
    frame = session.sql(text)
    if how == "the caller has the result":
        die()
elif what == "enrich":
    frame = aiq.enrich(asked, "a", "chat", "p")
else:
    frame = asked.select(stumble(aiq.functions.ai_query("chat", "p")).alias("a"))
print(frame.agg(F.count("a")).first()[0], flush=True)
spark.stop()
"""


@pytest.fixture
def provider() -> Iterator[SimulatorProcess]:
    """Answers after a twentieth of a second."""
    with SimulatorProcess.start(Profile(latency=Latency(fixed_ms=50))) as process:
        yield process


@pytest.fixture
def before(tmp_path: Path, provider: SimulatorProcess) -> ConfFolder:
    """The endpoint `chat` before that provider; a worker has 16 requests in flight."""
    folder = ConfFolder(tmp_path / "conf", provider.url)
    folder.settings(concurrency=CONCURRENCY)
    folder.endpoint("chat")
    return folder


def start(conf: ConfFolder, home: Path, what: str, rows: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(conf.path), str(home), what, str(rows)]
    environ = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    with log_of(home).open("ab") as log:
        return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=log)


def log_of(home: Path) -> Path:
    return home.parent / "driver.log"


def test_a_killed_driver_is_run_again_and_repays_what_was_in_flight(
    before: ConfFolder, home: Path, provider: SimulatorProcess
) -> None:
    rows = 2000
    provider.set_faults(FaultRate("timeout", 1.0, after=rows // 4))  # the others stay in flight until the driver ends
    first = start(before, home, "enrich", rows)
    while provider.stats()["ok"] < rows // 4:
        assert first.poll() is None, log_of(home).read_text()[-3000:]
        time.sleep(0.1)
    family = psutil.Process(first.pid).children(recursive=True)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    for process in family:  # Spark's own, which go down with it
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family)
    provider.set_faults()
    said, _ = start(before, home, "enrich", rows).communicate(timeout=400)
    assert said.split() == [str(rows).encode()], log_of(home).read_text()[-3000:]
    assert provider.stats()["requests"] <= rows + SLOTS * CONCURRENCY


def test_a_task_that_fails_late_is_run_again_for_nothing(
    before: ConfFolder, home: Path, provider: SimulatorProcess
) -> None:
    said, _ = start(before, home, "retry", 200).communicate(timeout=400)
    assert said.split() == [b"200"], log_of(home).read_text()[-3000:]
    assert provider.stats()["requests"] == 200


def killed(conf: ConfFolder, home: Path, what: str, rows: int) -> None:
    """Runs a driver that kills itself. Its JVM and workers notice that, and end."""
    driver = start(conf, home, what, rows)
    driver.communicate(timeout=400)
    assert driver.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("step", "requests"),
    [
        ("before the ledger's commit", 40),
        ("the caller has the result", 40),
        ("between two batches", 41),
    ],
)
def test_a_session_killed_after_its_last_answer_pays_nothing_again(
    before: ConfFolder, home: Path, provider: SimulatorProcess, step: str, requests: int
) -> None:
    killed(before, home, f"session {step}", 40)
    assert provider.stats()["requests"] == requests
    said, _ = start(before, home, "session", 40).communicate(timeout=400)
    assert said.split() == [b"40"]
    assert provider.stats()["requests"] == requests


def test_a_session_of_a_driver_that_exits_leaves_nothing_to_resume(
    before: ConfFolder, home: Path, provider: SimulatorProcess
) -> None:
    for count in (1, 2):
        start(before, home, "session", 40).communicate(timeout=400)
        assert provider.stats()["requests"] == count * 40
