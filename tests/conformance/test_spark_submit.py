"""`spark-submit` with aiq as one file: what the driver and the workers import is that file, and nothing beside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from aiq.simulator.process import SimulatorProcess
from tests.conftest import ConfFolder

PACKAGE = Path(__file__).parents[2] / "aiq"
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


@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java (apt-get install default-jre-headless)")
@pytest.mark.timeout(400)
def test_a_job_runs_from_one_packed_file(
    conf: ConfFolder, home: Path, tmp_path: Path, simulator: SimulatorProcess
) -> None:
    packed, program, out = tmp_path / "aiq.zip", tmp_path / "job.py", tmp_path / "out.json"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in PACKAGE.rglob("*.py"):
            archive.write(path, path.relative_to(PACKAGE.parent))
    program.write_text(PROGRAM)
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
    }
    options = [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    submit = [f"{spark_home}/bin/spark-submit", "--master", "local[2]", *options, "--py-files", str(packed)]
    done = subprocess.run(
        [*submit, str(program), str(out)], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=380
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(out.read_text())
    assert found["answers"] == simulator.stats()["requests"] == 6
    assert all("aiq.zip" in place for place in [found["driver"], *found["workers"]])
