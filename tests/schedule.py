"""In what order files are run, and which tests one worker runs (pytest-xdist).

A file's tests run in one worker, but for those of the shared Spark, which all run in one: a second JVM takes longer to
start and to warm up than it saves. Files that take long come first, so that none is left to one worker at the end.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

SPARK = "tests on the shared Spark"
_SPARK = re.compile(r"\[spark|::test_spark_|/test_spark_(?!submit|resume|cluster|connect|secrets)\w+\.py")

LONGEST = (
    "test_ai_query_",  # begins what Spark has to do, which is most
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

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Puts the longest files first, and keeps the order of tests in a file."""
        items.sort(key=lambda item: rank(item.path))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Scheduling | None:
        """Takes the place of `--dist loadfile`."""
        return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None
