"""notebooks/spark_pipeline.py between real Delta tables: what is new is asked, once, and is in the target once."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from pyspark.sql import Row, SparkSession

import aiq
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import FaultRate
from tests.conftest import ConfFolder

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "spark_pipeline.py"


class Pipeline:
    """The notebook's functions over a source and a target of this test's own."""

    def __init__(self, notebook: ModuleType, spark: SparkSession, folder: Path, simulator: SimulatorProcess) -> None:
        self.notebook, self.spark, self._simulator = notebook, spark, simulator
        self.source, self.target = str(folder / "source"), str(folder / "target")
        self.checkpoint = str(folder / "checkpoint")
        self._seen = 0
        notebook.create_target(spark, self.target)

    def append(self, ids: range, word: str = "lamp") -> None:
        rows = self.spark.createDataFrame([(i, f"A {word}, number {i}.") for i in ids], "id BIGINT, body STRING")
        rows.coalesce(1).write.format("delta").mode("append").save(self.source)

    def batch(self) -> None:
        self.notebook.batch(self.spark, self.source, self.target)

    def stream(self) -> None:
        self.notebook.stream(self.spark, self.source, self.target, self.checkpoint)

    def rows(self) -> list[Row]:
        return self.spark.read.format("delta").load(self.target).orderBy("id").collect()

    def requests(self) -> int:
        """Requests since the last time this was asked."""
        before, self._seen = self._seen, self._simulator.stats()["requests"]
        return self._seen - before


@pytest.fixture
def pipeline(
    spark: SparkSession, conf: ConfFolder, home: Path, tmp_path: Path, simulator: SimulatorProcess
) -> Pipeline:
    spec = importlib.util.spec_from_file_location("spark_pipeline", NOTEBOOK)
    assert spec is not None and spec.loader is not None
    notebook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(notebook)
    aiq.register(spark, conf=conf.path, home=home, user="ann@example.com")
    return Pipeline(notebook, spark, tmp_path, simulator)


def test_the_notebook_of_batches_and_streams_runs_on_the_shared_spark(spark: SparkSession) -> None:
    """Its cells assert what has to come out; `getOrCreate` gives them the session that is there."""
    shell = InteractiveShell()
    cells = nbformat.read(NOTEBOOK.with_name("batch_and_stream.ipynb"), as_version=4).cells
    for cell in cells:
        if cell.cell_type == "code":
            shell.run_cell(cell.source, store_history=True).raise_error()
    assert shell.user_ns["spark"].sparkContext is spark.sparkContext


def test_a_second_run_asks_for_new_and_changed_rows_only(pipeline: Pipeline) -> None:
    pipeline.append(range(10))
    pipeline.batch()
    assert pipeline.requests() == 10
    first = {row.id: row.summary for row in pipeline.rows()}
    pipeline.spark.sql(f"UPDATE delta.`{pipeline.source}` SET body = concat(body, ' Broken.') WHERE id IN (3, 7)")
    pipeline.append(range(10, 11))
    pipeline.batch()
    assert pipeline.requests() == 3
    second = {row.id: row.summary for row in pipeline.rows()}
    assert sorted(second) == list(range(11)) and all(second.values())
    assert {i for i in first if first[i] != second[i]} == {3, 7}
    pipeline.batch()
    assert pipeline.requests() == 0


def test_rows_that_failed_are_asked_again_by_the_next_run(pipeline: Pipeline, simulator: SimulatorProcess) -> None:
    pipeline.append(range(6))
    simulator.set_faults(FaultRate("content-filter", 1.0))
    pipeline.batch()
    assert all(row.summary is None and row.error for row in pipeline.rows())
    simulator.set_faults()
    pipeline.requests()
    pipeline.batch()
    assert pipeline.requests() == 6
    assert [(row.id, row.error) for row in pipeline.rows()] == [(i, None) for i in range(6)]


def test_a_stream_goes_on_from_its_checkpoint(pipeline: Pipeline) -> None:
    pipeline.append(range(8))
    pipeline.stream()
    assert pipeline.requests() == 8
    pipeline.append(range(8, 10))
    pipeline.stream()
    pipeline.stream()
    assert pipeline.requests() == 2
    assert [row.id for row in pipeline.rows()] == list(range(10))


def test_a_batch_that_the_checkpoint_does_not_know_of_is_written_and_paid_once(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream ends between the target's commit and its own: Spark gives the same batch to the next run."""
    pipeline.append(range(8))
    upsert: Any = pipeline.notebook.upsert

    def cut_off(rows: Any, target: str) -> None:
        upsert(rows, target)
        raise KeyError("the power went out")

    monkeypatch.setattr(pipeline.notebook, "upsert", cut_off)
    with pytest.raises(Exception, match="the power went out"):
        pipeline.stream()
    monkeypatch.setattr(pipeline.notebook, "upsert", upsert)
    assert len(pipeline.rows()) == 8
    pipeline.stream()
    assert pipeline.requests() == 8
    assert [row.id for row in pipeline.rows()] == list(range(8))
