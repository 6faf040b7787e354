"""`spark-submit` with aiq as one file: what the driver and the workers import is that file, and nothing beside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from aiq.simulator.process import SimulatorProcess
from tests.conftest import ConfFolder
from tests.spark import one_at_a_time

PACKAGE = Path(__file__).parents[2] / "aiq"
PIPELINE = PACKAGE.parent / "notebooks" / "spark_pipeline.py"
DELTA = "io.delta:delta-spark_4.1_2.13:4.1.0"
PROGRAM = """
import json
import sys

import aiq
import pyarrow as pa
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
aiq.register(spark)  # by $AIQ_CONF and $AIQ_HOME
answers = spark.sql("SELECT ai_query('chat', concat('Question ', id)) AS a FROM range(0, 6, 1, 2)").collect()


def place(batches):
    import aiq.gateway

    for batch in batches:
        yield pa.RecordBatch.from_pydict({"id": [aiq.gateway.__file__] * batch.num_rows})


workers = spark.range(2).mapInArrow(place, "id STRING").collect()
found = {"answers": len(answers), "driver": aiq.__file__, "workers": [row.id for row in workers]}
open(sys.argv[1], "w").write(json.dumps(found))
"""


pytestmark = [
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java (apt-get install default-jre-headless)"),
    pytest.mark.timeout(400),
]


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """aiq as one file."""
    path = tmp_path / "aiq.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for module in PACKAGE.rglob("*.py"):
            archive.write(module, module.relative_to(PACKAGE.parent))
    return path


@pytest.fixture
def submit(conf: ConfFolder, home: Path, tmp_path: Path, packed: Path) -> Callable[..., None]:
    """`submit(program, argument, ...)` to `local[2]`, with further options for spark-submit."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environ |= {"PYSPARK_PYTHON": sys.executable, "AIQ_CONF": str(conf.path), "AIQ_HOME": str(home)}
    command = [sys.executable, "-m", "pyspark.find_spark_home"]
    spark_home = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.strip()
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "512m",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.shuffle.partitions": "2",
    }
    options = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]

    def run(program: Path, *arguments: str, more: Sequence[str] = ()) -> None:
        start = [f"{spark_home}/bin/spark-submit", "--master", "local[2]", *options, *more, "--py-files", str(packed)]
        with one_at_a_time():  # Ivy fetches the JARs
            done = subprocess.run(
                [*start, str(program), *arguments],
                env=environ,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=380,
            )
        assert done.returncode == 0, done.stderr[-3000:]

    return run


def test_a_job_runs_from_one_packed_file(
    submit: Callable[..., None], tmp_path: Path, simulator: SimulatorProcess
) -> None:
    program, out = tmp_path / "job.py", tmp_path / "out.json"
    program.write_text(PROGRAM)
    submit(program, str(out))
    found = json.loads(out.read_text())
    assert found["answers"] == simulator.stats()["requests"] == 6
    assert all("aiq.zip" in place for place in [found["driver"], *found["workers"]])


def test_the_pipeline_runs_as_it_says_on_its_top(
    submit: Callable[..., None], tmp_path: Path, simulator: SimulatorProcess
) -> None:
    source, target = str(tmp_path / "reviews"), str(tmp_path / "summaries")
    write_deltalake(source, pa.table({"id": pa.array(range(4)), "body": [f"A lamp, number {i}." for i in range(4)]}))
    submit(PIPELINE, "batch", source, target, more=["--packages", DELTA])
    rows = DeltaTable(target).to_pyarrow_table().to_pylist()
    assert sorted(row["id"] for row in rows) == [0, 1, 2, 3]
    assert all(row["summary"] and row["error"] is None for row in rows) and simulator.stats()["requests"] == 4
