"""In what order files are run, and which tests one worker runs (pytest-xdist).

A file's tests run in one worker, but for those of the shared Spark, which run in two: their files' own, and the cases
for Spark of files that are for every engine. Either half is the longest work there is, so it comes first; a third JVM
would take longer to start and to warm up than it saves. Files that take long come next, so that none is left to one
worker at the end.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

SPARK = "cases for Spark"
SPARK_FILES = "files for Spark"
_SPARK = re.compile(r"\[spark|::test_spark_")
_SPARK_FILE = re.compile(r"/test_spark_(?!submit|resume|cluster|connect|secrets)\w+\.py")

LONGEST = (
    "test_evaluated_once_",
    "test_spark_",
    "test_statement_crash",
    "test_duckdb_fuzz",
    "test_newcomer",
    "test_policy_matrix",
    "test_dialect_values",
    "test_limits_processes",
    "test_duckdb_corpus",
    "test_failover_matrix",
    "test_duckdb_differential",
    "test_demo",
    "test_statement_resume",
    "test_duckdb_evaluated_once",
    "test_cli_",
    "test_provider_quota",
    "test_answers_",
    "test_policy_bad_input",
    "test_duckdb_",
    "test_forked",
    "test_failover_scenarios",
    "test_dbt",
    "test_guardrail_pii",
    "test_provider_",
    "test_custom_",
)
"""How the names of files begin that take more than ten seconds, the longest first."""


def scope_of(nodeid: str) -> str:
    """What runs in one worker with this test."""
    if _SPARK_FILE.search(nodeid):
        return SPARK_FILES
    return SPARK if _SPARK.search(nodeid) else nodeid.partition("::")[0]


def rank(path: Path) -> int:
    """Where a file comes: a place in LONGEST, or behind."""
    return next((place for place, start in enumerate(LONGEST) if path.name.startswith(start)), len(LONGEST))


class Scheduling(LoadFileScheduling):
    """xdist's own, with `scope_of` for a scope."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


class Schedule:
    """The plugin."""

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """Collects without looking for garbage: what is made are tests, which stay."""
        gc.disable()
        try:
            return (yield)
        finally:
            gc.freeze()
            gc.enable()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Puts the shared Spark's tests and then the longest files first, and keeps the order of tests in a file."""
        items.sort(key=lambda item: (scope_of(item.nodeid) not in (SPARK, SPARK_FILES), rank(item.path)))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Scheduling | None:
        """Takes the place of `--dist loadfile`."""
        return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None
