"""Spark drivers that are killed and tasks that fail: what was answered is not paid again."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import FaultRate, Latency, Profile
from tests.conftest import ConfFolder
from tests.processes import PATIENCE_S
from tests.spark import QUICK, Driver

pytestmark = [
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java (apt-get install default-jre-headless)"),
    pytest.mark.timeout(480),
]
CONCURRENCY, SLOTS, NEVER_S = 16, 2, 3000
PROGRAM = """
import os, signal, sys
import aiq
from aiq.ledger.ledger import Ledger
from pyspark import TaskContext
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

builder = SparkSession.builder.master("local[2,3]").appName("aiq")
for name, value in {
    "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.sql.shuffle.partitions": "2",
    "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.extraJavaOptions": "QUICK",
}.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("OFF")

@F.udf("string")
def stumble(answer):
    if TaskContext.get().attemptNumber() == 0:
        raise RuntimeError("this task fails once")
    return answer

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def frame_of(conf, home, what, rows):
    aiq.register(spark, conf=conf, home=home, user="ann@example.com")
    asked = spark.range(0, rows, 1, 2).select(F.concat(F.lit("Question "), "id").alias("p"))
    if what == "enrich":
        return aiq.enrich(asked, "a", "chat", "p")
    if what == "retry":
        return asked.select(stumble(aiq.functions.ai_query("chat", "p")).alias("a"))
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
    return frame

for line in sys.stdin:
    conf, home, what, rows = line.rstrip().split("\\t")
    print(frame_of(conf, home, what, int(rows)).agg(F.count("a")).first()[0], flush=True)
spark.stop()
""".replace("QUICK", QUICK)
COMMAND = [sys.executable, "-W", "ignore", "-c", PROGRAM]


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """A driver of this test's own."""
    started = Driver(COMMAND, tmp_path)
    yield started
    started.end()


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """A driver that goes on living, for what comes after another one."""
    started = Driver(COMMAND, tmp_path_factory.mktemp("another"))
    yield started
    assert started.end() == 0


@pytest.fixture
def provider() -> Iterator[SimulatorProcess]:
    """Answers after a twentieth of a second."""
    with SimulatorProcess.start(Profile(latency=Latency(fixed_ms=50))) as process:
        yield process


@pytest.fixture
def before(tmp_path: Path, provider: SimulatorProcess) -> ConfFolder:
    """The endpoint `chat` before that provider; a worker has 16 requests in flight, for which it waits all its life."""
    folder = ConfFolder(tmp_path / "conf", provider.url)
    folder.settings(concurrency=CONCURRENCY, read_timeout_s=NEVER_S, timeout_s=NEVER_S)
    folder.endpoint("chat")
    return folder


def test_a_killed_driver_is_run_again_and_repays_what_was_in_flight(
    driver: Driver, another: Driver, before: ConfFolder, home: Path, provider: SimulatorProcess
) -> None:
    rows = 2000
    provider.set_faults(FaultRate("timeout", 1.0, after=rows // 4))  # the others stay in flight until the driver ends
    driver.ask(before.path, home, "enrich", rows)
    while provider.stats()["ok"] < rows // 4:
        assert driver.process.poll() is None, driver.words()
        time.sleep(0.1)
    family = psutil.Process(driver.process.pid).children(recursive=True)
    for process in family:
        if process.name() == "java":
            process.suspend()  # so that it does not notice that its driver is gone
    driver.process.kill()
    deadline = time.monotonic() + PATIENCE_S
    while any(asks(process, provider.port) for process in family):  # which nobody has looked at yet, either
        assert time.monotonic() < deadline, "workers of a driver that is gone have requests in flight"
        time.sleep(0.05)
    assert provider.stats()["requests"] <= rows // 4 + SLOTS * CONCURRENCY
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family)
    driver.end()
    provider.set_faults()
    another.ask(before.path, home, "enrich", rows)
    assert another.said() == rows
    assert provider.stats()["requests"] <= rows + SLOTS * CONCURRENCY


def asks(process: psutil.Process, port: int) -> bool:
    """Whether a process has a connection to a port."""
    try:
        return any(c.raddr and c.raddr.port == port and c.status == "ESTABLISHED" for c in process.net_connections())
    except psutil.Error:
        return False


def test_a_task_that_fails_late_is_run_again_for_nothing(
    another: Driver, before: ConfFolder, home: Path, provider: SimulatorProcess
) -> None:
    another.ask(before.path, home, "retry", 200)
    assert another.said() == 200
    assert provider.stats()["requests"] == 200


@pytest.mark.parametrize(
    ("step", "requests"),
    [
        ("before the ledger's commit", 40),
        ("the caller has the result", 40),
        ("between two batches", 41),
    ],
)
def test_a_session_killed_after_its_last_answer_pays_nothing_again(
    driver: Driver,
    another: Driver,
    before: ConfFolder,
    home: Path,
    provider: SimulatorProcess,
    step: str,
    requests: int,
) -> None:
    driver.ask(before.path, home, f"session {step}", 40)
    assert driver.end() == -signal.SIGKILL, driver.words()  # it kills itself
    assert provider.stats()["requests"] == requests
    another.ask(before.path, home, "session", 40)
    assert another.said() == 40
    assert provider.stats()["requests"] == requests


def test_a_session_of_a_driver_that_exits_leaves_nothing_to_resume(
    driver: Driver, another: Driver, before: ConfFolder, home: Path, provider: SimulatorProcess
) -> None:
    driver.ask(before.path, home, "session", 40)
    assert driver.said() == 40
    assert driver.end() == 0
    another.ask(before.path, home, "session", 40)
    assert another.said() == 40
    assert provider.stats()["requests"] == 80
