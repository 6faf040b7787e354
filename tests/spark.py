"""The Spark that the tests of a process share. What keeps it from running is said once, in the words of its JVM."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from delta import configure_spark_with_delta_pip
from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

NO_JAVA = "Spark needs Java (Debian: apt-get install default-jre-headless)"
_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Tests end before the best code or concurrent collection pays."""


class LocalSpark:
    """One small Spark: two slots, Delta, no UI, workers of this Python."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._log = folder, folder / "jvm.log"
        self._session: SparkSession | None = None
        self._failed = False

    def session(self) -> SparkSession:
        """The session, started with the first call. Where it cannot run, one test fails and the others are skipped."""
        if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
            pytest.skip(NO_JAVA)
        if self._failed:
            pytest.skip("Spark does not run: the first test that failed for want of it says why")
        try:
            if self._session is None:
                self._session = self._start()
            gateway = self._session.sparkContext._gateway
            assert gateway is not None
            ended = gateway.proc.poll()
            reason = None if ended is None else f"its JVM ended with exit code {ended}"
        except Exception as error:
            reason = str(error).splitlines()[0]
        if reason is not None:
            self._failed = True
            pytest.fail(f"Spark does not run: {reason}\n{self._words()}", pytrace=False)
        return self._session

    def stop(self) -> None:
        """Ends the session, if there is one."""
        if self._session is not None and not self._failed:
            self._session.stop()

    def _start(self) -> SparkSession:
        os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
        settings = {
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.memory": "1g",
            "spark.driver.extraJavaOptions": f"-Dderby.system.home={self._folder} {_JVM}",
            "spark.sql.shuffle.partitions": "2",
            # Compiling each of many small queries takes longer than running it.
            "spark.sql.codegen.wholeStage": "false",
            "spark.sql.codegen.factoryMode": "NO_CODEGEN",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.warehouse.dir": str(self._folder / "warehouse"),
            "spark.local.dir": str(self._folder / "local"),
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
            "spark.databricks.delta.snapshotPartitions": "2",
        }
        builder = configure_spark_with_delta_pip(SparkSession.builder.master("local[2]").appName("aiq tests"))
        conf = SparkConf(loadDefaults=False)
        for name, value in {**builder._options, **settings}.items():
            builder = builder.config(name, value)
            conf.set(name, value)
        with self._log.open("wb") as log, one_at_a_time():
            gateway = launch_gateway(conf, {"stdout": log, "stderr": log})
        SparkContext._ensure_initialized(gateway=gateway)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        return session

    def _words(self) -> str:
        """The end of what the JVM wrote, without where in its code that was."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        said = [line for line in lines if line.strip() and not line.lstrip().startswith("at ")]
        return "\n".join(said[-40:]) or "(its JVM wrote nothing)"


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Held while a JVM starts and has Ivy fetch its JARs: Ivy's cache is one for all processes, and has no lock.

    Of two that fill it at once, each may read what the other has half written.
    """
    with (Path(tempfile.gettempdir()) / f"aiq-tests-ivy-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
