"""A standalone cluster of real processes: a limit holds for all workers, and a killed one loses and doubles nothing.

Periods are six seconds here, where users have a minute; the rules know no difference.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import Latency, Profile
from tests.conftest import ConfFolder
from tests.processes import RedisServer, line_with
from tests.spark import QUICK, Driver

pytestmark = [
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java (apt-get install default-jre-headless)"),
    pytest.mark.timeout(480),
]
Rows = list[dict[str, Any]]

PERIOD_S = 6
SHORT_PERIODS = f"""
from aiq.config import gateway_policy
gateway_policy.PERIODS_S["minute"] = {PERIOD_S}
"""
JITTER_S = 0.5
"""A request arrives a little after it was let go, some more than others."""
CONCURRENCY = 16
DRIVER = """
import sys
import aiq
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

builder = SparkSession.builder.master(sys.argv[1]).appName("aiq")
for name, value in {
    "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.cores.max": "2",
    "spark.executor.cores": "1", "spark.executor.memory": "512m", "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1", "spark.sql.shuffle.partitions": "2",
    "spark.scheduler.minRegisteredResourcesRatio": "1.0", "spark.scheduler.maxRegisteredResourcesWaitingTime": "60s",
    "spark.executor.extraJavaOptions": "QUICK",
    "spark.driver.extraJavaOptions": "QUICK",
}.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("OFF")
for line in sys.stdin:
    conf, home, rows = line.rstrip().split("\\t")
    aiq.register(spark, conf=conf, home=home, user="ann@example.com")
    asked = spark.range(int(rows)).select(F.concat(F.lit("Question "), "id").alias("p"))
    print(aiq.enrich(asked, "a", "chat", "p").agg(F.count("a")).first()[0], flush=True)
spark.stop()
""".replace("QUICK", QUICK)


class Cluster:
    """A master and workers of one core each. `start` gives a worker's own process."""

    def __init__(self, folder: Path) -> None:
        import pyspark

        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        site = folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(SHORT_PERIODS)
        path = os.pathsep.join([str(site), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        home = str(Path(pyspark.__file__).parent)
        self.environ = {
            **os.environ,
            "PYTHONPATH": path,
            "SPARK_HOME": home,
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_DAEMON_MEMORY": "256m",
        }
        self._class = f"{home}/bin/spark-class"
        master = self._start("master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
        said = line_with(master, "Starting Spark master at spark://", folder / "daemons.log")
        self.url = said.rpartition(" ")[2]

    def start_worker(self) -> subprocess.Popen[bytes]:
        work = str(self.folder / f"work-{len(self.processes)}")
        options = ["--host", "127.0.0.1", "--cores", "1", "--memory", "600m", "--webui-port", "0", "--work-dir", work]
        return self._start("worker.Worker", *options, self.url)

    def driver(self) -> Driver:
        """A driver that asks distinct questions: a configuration, a home and a number of questions a line."""
        driver = Driver([sys.executable, "-c", DRIVER, self.url], self.folder, self.environ)
        self.processes.append(driver.process)
        return driver

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _start(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        command = [self._class, f"org.apache.spark.deploy.{name}", *options]
        with (self.folder / "daemons.log").open("ab") as log:
            process = subprocess.Popen(command, env=self.environ, stdout=log, stderr=log)
        self.processes.append(process)
        return process


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def workers(cluster: Cluster) -> list[subprocess.Popen[bytes]]:
    return [cluster.start_worker() for _ in range(2)]


@pytest.fixture(scope="module")
def driver(cluster: Cluster, workers: list[subprocess.Popen[bytes]]) -> Driver:
    return cluster.driver()


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


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with RedisServer(tmp_path) as server:
        yield server.url


def test_a_limit_in_redis_holds_for_the_whole_cluster_and_is_used_up(
    driver: Driver, before: ConfFolder, home: Path, provider: SimulatorProcess, redis_url: str
) -> None:
    limit, rows = 100, 300
    before.settings(concurrency=CONCURRENCY, limits_store="redis", limits_redis_url=redis_url)
    before.endpoint("chat", gateway={"aiq": {"rate_limits": [{"calls": limit, "renewal_period": "minute"}]}})
    driver.ask(before.path, home, rows)
    assert driver.said() == rows
    times = sorted(attempt["at_ms"] / 1000 for attempt in provider.attempts())
    assert len(times) == rows
    most = max(bisect.bisect_left(times, at + PERIOD_S - JITTER_S) - i for i, at in enumerate(times))
    assert most <= limit, [round(at - times[0], 2) for at in times]
    # Up to the first request of the last period: how long that period's own take to arrive says nothing.
    used = (rows - limit) / (limit * (times[rows - limit] - times[0]) / PERIOD_S)
    assert used >= 0.95


def test_a_killed_worker_loses_no_row_doubles_none_and_repays_what_was_in_flight(
    driver: Driver,
    workers: list[subprocess.Popen[bytes]],
    before: ConfFolder,
    home: Path,
    provider: SimulatorProcess,
    ledger_rows: Callable[..., Rows],
) -> None:
    rows = 2000
    driver.ask(before.path, home, rows)
    while provider.stats()["requests"] < rows // 4:
        assert driver.process.poll() is None, driver.words()
        time.sleep(0.1)
    os.kill(workers[0].pid, signal.SIGKILL)
    assert driver.said() == rows
    asked = provider.stats()["requests"]
    assert rows <= asked <= rows + CONCURRENCY
    calls = ledger_rows("system.aiq.calls")
    assert len({call["request_id"] for call in calls}) == len(calls)
    assert asked <= len(calls) <= asked + CONCURRENCY  # of an orphan nobody knows whether it was sent
    assert {call["status"] for call in calls} <= {"ok", "orphaned"}
    assert sum(call["status"] == "orphaned" for call in calls) <= CONCURRENCY
