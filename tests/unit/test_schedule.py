"""Which tests one worker runs, and which files come first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.schedule import LONGEST, SPARK, SPARK_FILES, rank, scope_of

TESTS = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "nodeid",
    [
        "tests/conformance/test_ai_query_results.py::test_a_null_row_is_null[spark]",
        "tests/conformance/test_evaluated_once_relations.py::test_a_form[spark-a join]",
        "tests/conformance/test_dialect_values.py::test_spark_still_gives_what_was_recorded",
    ],
)
def test_cases_for_spark_run_in_one_worker(nodeid: str) -> None:
    assert scope_of(nodeid) == SPARK


def test_files_for_the_shared_spark_run_in_another() -> None:
    assert scope_of("tests/conformance/test_spark_session.py::test_a_form[a join]") == SPARK_FILES
    assert scope_of("tests/conformance/test_spark_asked.py::test_a_form[spark]") == SPARK_FILES


@pytest.mark.parametrize(
    "nodeid",
    [
        "tests/conformance/test_ai_query_results.py::test_a_null_row_is_null[duckdb]",
        "tests/conformance/test_spark_submit.py::test_a_script_is_submitted",
        "tests/unit/engines/duckdb/rewrite/test_split.py::test_words_like_spark_in_a_case[the spark]",
    ],
)
def test_other_tests_run_with_those_of_their_file(nodeid: str) -> None:
    assert scope_of(nodeid) == nodeid.partition("::")[0]


def test_each_start_of_a_name_is_that_of_a_file_and_puts_it_first() -> None:
    names = [path.name for path in TESTS.rglob("test_*.py")]
    assert [start for start in LONGEST if not any(name.startswith(start) for name in names)] == []
    assert rank(Path("test_statement_crash.py")) < rank(Path("test_demo.py")) < rank(Path("test_errors.py"))
