"""Has requests answered by Spark's workers, and keeps what must not be computed twice in files of the home.

Knows Spark's frames and what a worker needs; must never know a plan.
"""

from __future__ import annotations

import itertools
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from aiq.engines.spark.failures import asked
from aiq.engines.spark.job import ANSWER, Job
from aiq.engines.spark.keys import KEY
from aiq.engines.spark.prepare import result_type
from aiq.statements.sites import Compiled

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

STALE_S = 7 * 86400.0
"""Files of sessions that nobody closed are kept so long: somebody may read their results."""


class SessionFiles:
    """The files of one session, under `<home>/spark`. They are deleted when it is closed."""

    def __init__(self, home: Path) -> None:
        self._home = home / "spark"
        self.folder = self._home / str(uuid.uuid4())
        self._numbers = itertools.count(1)
        self._remove_stale()

    def write(self, rows: DataFrame) -> DataFrame:
        """The same rows, from files. Raises Spark's errors."""
        path = f"file://{self.folder}/{next(self._numbers)}"
        rows.write.parquet(path)
        return rows.sparkSession.read.schema(rows.schema).parquet(path)

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _remove_stale(self) -> None:
        with suppress(OSError):
            for folder in self._home.iterdir():
                if time.time() - folder.stat().st_mtime > STALE_S:
                    shutil.rmtree(folder, ignore_errors=True)


class WorkerAnswers:
    """The answers of one statement's sites, from Spark's workers (`lifting.Answering`)."""

    def __init__(
        self,
        sites: Mapping[int, Compiled],
        job: Callable[[int], Job],
        files: SessionFiles,
        cost: Callable[[Compiled], float],
        left_usd: Callable[[], float | None] = lambda: None,
    ) -> None:
        """`left_usd` says what may still be spent, in US dollars; None for any."""
        self._sites, self._job, self._files, self._cost = sites, job, files, cost
        self._left_usd = left_usd
        self._groups: dict[Any, int] = {}

    def group(self, site: int, types: Sequence[DataType]) -> int:
        made = self._sites[site]
        kinds = tuple(kind.simpleString() for kind in types)
        identity = (made.site.identity, str(made.site.type), made.options.fail_on_error, kinds)
        return self._groups.setdefault(identity, len(self._groups))

    def cost(self, site: int) -> float:
        return self._cost(self._sites[site])

    def check(self, site: int, types: Sequence[DataType]) -> None:
        from pyspark.sql.pandas.types import to_arrow_type

        request, *files = map(to_arrow_type, types)
        self._sites[site].site.check(request, files[0] if files else None)

    def ask(self, site: int, requests: DataFrame, siblings: int) -> DataFrame:
        job, kind = self._job(site), result_type(self._sites[site])
        left_usd = self._left_usd()
        if left_usd is not None:  # of tasks whose number is known, each may spend its share
            tasks = job.origin.slots
            requests = requests.repartition(tasks, KEY)
            job = job._replace(budget_usd=left_usd / tasks / (siblings + 1))

        def answered(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
            return asked(batches, job)

        rows = requests if _partitions(requests) > 1 else requests.repartition(KEY)
        return self._files.write(rows.mapInArrow(answered, f"{KEY} BINARY, {ANSWER} {kind}"))

    def kept(self, rows: DataFrame) -> DataFrame:
        from pyspark.errors import AnalysisException

        try:
            return self._files.write(rows)
        except AnalysisException:  # of a type that files do not have
            return rows.localCheckpoint()


def _partitions(rows: DataFrame) -> int:
    """In how many tasks Spark means to compute some rows."""
    return int(rows._jdf.queryExecution().executedPlan().outputPartitioning().numPartitions())
