"""A query without anything of ours runs on DuckDB alone; whatever means more goes the way of a session."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from aiq.cli import plain as plain_module
from aiq.cli.plain import plain
from aiq.statements.definitions import store
from tests.processes import PATIENCE_S

HEAVY = ("pyarrow", "sqlglot", "numpy", "aiq.gateway", "aiq.config", "aiq.ledger", "aiq.statements", "aiq.engines")


def is_plain(text: str, home: Path, db: Path | None = None, **values: object) -> bool:
    with plain(text, values, None if db is None else str(db), False, home) as found:
        return found is not None and found.limit(3).fetchall() is not None


@pytest.mark.parametrize(
    "text",
    ["SELECT 1", "FROM range(3) -- all", "WITH a AS (SELECT 1 AS x) SELECT 'it''s ' || x FROM a;\n", "VALUES (1), (2)"],
)
def test_a_query_is_duckdbs(tmp_path: Path, text: str) -> None:
    assert is_plain(text, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT ai_query('chat', 'x')", "SHOW aiq_settings", "SELECT 1; SELECT 2", "SELECT 1; -- done;",
        "CREATE TABLE t (i INT)",
        "FROM system.aiq.calls", "SELECT `a` FROM t", "SELECT '${x}'", "SELECT {{ x }}", "FROM nowhere", "SELEC 1", "",
        "FROM main.a.b", 'SELECT 1 FROM "x"."y"."z"', "FROM read_files('/Volumes/a')", "EXPLAIN AI SELECT 1",
        "SELECT text", "SELECT * FROM home", "%sql SELECT 1", "SET threads = 1",
        "SELECT '\udcff'",
    ],
)  # fmt: skip
def test_whatever_may_mean_more_is_a_sessions(tmp_path: Path, text: str) -> None:
    assert not is_plain(text, tmp_path)


def test_definitions_of_the_home_are_a_sessions(tmp_path: Path) -> None:
    assert plain_module._KEPT_DEFINITIONS == store.FILE
    (tmp_path / store.FILE).touch()
    assert not is_plain("SELECT 1", tmp_path)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ("CREATE VIEW v AS SELECT 1 AS a", True),
        ("CREATE MACRO f(x) AS x + 1", True),
        ("CREATE MACRO ai_query(e, x) AS x; CREATE VIEW v AS SELECT ai_query('chat', 'x') AS a", False),
        ("CREATE MACRO ai_query(e, x) AS x; CREATE MACRO f(x) AS ai_query('chat', x)", False),
    ],
)
def test_a_database_that_calls_a_model_is_a_sessions(tmp_path: Path, made: str, expected: bool) -> None:
    db = tmp_path / "shop.duckdb"
    duckdb.connect(str(db)).execute(made).close()
    assert is_plain("SELECT 1", tmp_path, db) is expected


def test_a_parameter_reaches_the_query(tmp_path: Path) -> None:
    with plain("SELECT $n AS n", {"n": "007"}, None, False, tmp_path) as found:
        assert found is not None and found.fetchall() == [("007",)]
    assert not is_plain("SELECT $n AS n", tmp_path, m=1)


def test_nothing_heavy_is_imported_and_no_home_is_made(tmp_path: Path) -> None:
    program = (
        "import sys; sys.argv[1:] = ['sql', 'SELECT 42 AS x']; from aiq.cli import main; code = main(); "
        f"print(code, [name for name in {HEAVY} if name in sys.modules])"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert "42" in done.stdout and done.stdout.splitlines()[-1] == "0 []", done.stdout + done.stderr
    assert not list(tmp_path.iterdir())
