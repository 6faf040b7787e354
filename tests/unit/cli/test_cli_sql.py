"""`aiq sql`: what it runs, what it prints, how it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import duckdb
import pyarrow.parquet as pq
import pytest

from aiq.ledger.records import CALLS_TABLE
from aiq.ledger.tables import Tables
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import FaultRate, Latency, Profile
from tests.processes import PATIENCE_S

Run = Callable[..., CompletedProcess[str]]

NESTED = "SELECT 1 AS id, {'a': [1, 2], 'd': DATE '2024-02-29'} AS s, 'x;\"y' AS t, NULL AS n, 'nan'::DOUBLE AS f"


def test_a_table_is_printed_with_its_answers(run: Run) -> None:
    done = run("sql", "SELECT 7 AS id, ai_query('chat', 'Good morning') AS answer")
    assert (done.returncode, "[simulated]" in done.stdout, "answer" in done.stdout) == (0, True, True), done.stderr


def test_json_is_one_array_with_nested_values(run: Run) -> None:
    done = run("sql", NESTED, "--format", "json")
    assert json.loads(done.stdout) == [
        {"id": 1, "s": {"a": [1, 2], "d": "2024-02-29"}, "t": 'x;"y', "n": None, "f": None}
    ]


def test_no_row_is_an_empty_json_array(run: Run) -> None:
    assert json.loads(run("sql", "SELECT 1 AS a WHERE false", "--format", "json").stdout) == []


def test_csv_reads_back_with_a_header_and_json_for_nested_values(run: Run, folder: Path) -> None:
    assert run("sql", NESTED, "--out", "rows.csv").returncode == 0
    row = duckdb.connect().execute("SELECT id, s->>'$.d', t, n FROM read_csv(?)", [str(folder / "rows.csv")]).fetchall()
    assert row == [(1, "2024-02-29", 'x;"y', None)]


def test_parquet_reads_back_with_its_types(run: Run, folder: Path) -> None:
    assert run("sql", "SELECT [1.5] AS v, 'x' AS t", "--out", "rows.parquet").returncode == 0
    assert pq.read_table(folder / "rows.parquet").to_pylist() == [{"v": [1.5], "t": "x"}]


def test_parquet_without_a_file_is_wrong_usage(run: Run) -> None:
    done = run("sql", "SELECT 1", "--format", "parquet")
    assert (done.returncode, "--out" in done.stderr, done.stdout) == (2, True, "")


def test_commands_and_parameters_run_in_order(run: Run) -> None:
    done = run("sql", "-c", "CREATE TABLE t AS SELECT $n AS n -- first", "-c", "SELECT n, $who AS w FROM t",
               "--param", "n=2.50", "--param", "who=007", "--format", "jsonl")  # fmt: skip
    assert done.stdout == '{"n": 2.5, "w": "007"}\n', done.stderr
    assert run("sql", "SELECT 1", "-c", "SELECT 2").returncode == 2


def test_a_database_that_is_opened_read_only_stays_as_it_is(run: Run, folder: Path) -> None:
    assert run("sql", "SELECT 1", "--db", "shop.duckdb", "--read-only").returncode == 2
    duckdb.connect(str(folder / "shop.duckdb")).execute("CREATE TABLE t AS SELECT 'x' AS p").close()
    before = (folder / "shop.duckdb").read_bytes()
    done = run("sql", "SELECT ai_query('chat', p) AS a FROM t", "--db", "shop.duckdb", "--read-only")
    assert (done.returncode, "[simulated]" in done.stdout) == (0, True), done.stderr
    refused = run("sql", "CREATE TABLE u AS SELECT ai_query('chat', p) FROM t", "--db", "shop.duckdb", "--read-only")
    assert (refused.returncode, "read-only" in refused.stderr) == (1, True)
    assert (folder / "shop.duckdb").read_bytes() == before


def test_a_failed_statement_leaves_the_old_file_alone(run: Run, folder: Path) -> None:
    (folder / "rows.csv").write_text("old")
    done = run("sql", "SELECT 'x'::INTEGER", "--out", "rows.csv")
    assert (done.returncode, (folder / "rows.csv").read_text(), sorted(p.name for p in folder.glob(".aiq-*"))) == (
        1,
        "old",
        [],
    )


@pytest.mark.parametrize("format", ["table", "json", "csv"])
@pytest.mark.parametrize("script", ["SELECT error('boom') AS a", "SELECT error('boom') AS a; SELECT 1 AS a"])
def test_a_query_that_fails_when_its_rows_are_read_fails_in_every_format(run: Run, script: str, format: str) -> None:
    done = run("sql", script, "--format", format)
    assert (done.returncode, "boom" in done.stderr, done.stdout) == (1, True, "")


def test_columns_of_one_name_keep_their_values_in_every_format(run: Run, folder: Path) -> None:
    query = "SELECT [1] AS a, 2 AS a"
    assert run("sql", query, "--format", "json").stdout == '[\n  {"a": [1], "a": 2}\n]\n'
    assert run("sql", query, "--format", "csv").stdout.splitlines()[1] == "[1],2"


def test_a_terminal_that_cannot_show_a_character_shows_another(folder: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "aiq.cli", "sql", "SELECT 'é' AS x"]
    ascii_only = {**environment, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(command, capture_output=True, cwd=folder, env=ascii_only)
    assert (done.returncode, done.stderr, b"?" in done.stdout) == (0, b"", True)


def test_several_statements_of_standard_input_run_one_by_one(run: Run) -> None:
    script = (
        "CREATE TABLE t AS SELECT 'a;b' AS x; -- not; here\nINSERT INTO t VALUES ('c');\n;SELECT x FROM t ORDER BY x;"
    )
    done = run("sql", "--format", "json", stdin=script)
    assert json.loads(done.stdout) == [{"x": "a;b"}, {"x": "c"}], done.stderr


@pytest.mark.parametrize(
    ("script", "rows"),
    [
        ("SELECT 1 AS a; CREATE TABLE t (i INT)", [{"a": 1}]),
        ("CREATE TABLE t AS SELECT 1 AS a; SELECT a FROM t; UPDATE t SET a = 2; DROP TABLE t", [{"a": 1}]),
        ("SELECT 1 AS a; SELECT 2 AS a WHERE false", []),
        ("CREATE TABLE t (a INT); INSERT INTO t VALUES (3) RETURNING a; SET threads = 1", [{"a": 3}]),
        ('SELECT 4 AS "Count"; BEGIN; ROLLBACK', [{"Count": 4}]),
        ("\ufeffSELECT 1 AS a;\r\n\r\n-- done;\r\n", [{"a": 1}]),
    ],
)
def test_the_rows_are_those_of_the_last_statement_that_has_rows(run: Run, script: str, rows: list[object]) -> None:
    done = run("sql", script, "--format", "json")
    assert (done.returncode, json.loads(done.stdout)) == (0, rows), done.stderr


def test_a_file_holds_the_rows_as_they_were_when_their_statement_ran(run: Run, folder: Path) -> None:
    script = "CREATE TABLE t AS SELECT 1 AS a; SELECT a FROM t; INSERT INTO t VALUES (2); SET threads = 1"
    assert run("sql", script, "--out", "rows.csv").returncode == 0
    assert (folder / "rows.csv").read_text().split() == ["a", "1"]


@pytest.mark.parametrize("format", ["table", "json", "csv"])
def test_statements_without_rows_print_nothing(run: Run, format: str) -> None:
    done = run("sql", "CREATE TABLE t (i INT); INSERT INTO t VALUES (1); CREATE VIEW v AS FROM t", "--format", format)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_file_is_not_written_where_no_statement_has_rows(run: Run, folder: Path) -> None:
    (folder / "rows.csv").write_text("old")
    done = run("sql", "CREATE TABLE t (i INT)", "--db", "shop.duckdb", "--out", "rows.csv")
    assert (done.returncode, "none of them has rows" in done.stderr) == (1, True)
    assert ((folder / "rows.csv").read_text(), list(folder.glob(".aiq-*"))) == ("old", [])
    assert run("sql", "SELECT i FROM t", "--db", "shop.duckdb").returncode == 0


def test_a_query_of_no_row_keeps_its_columns_in_every_format(run: Run, folder: Path) -> None:
    for file in ("rows.csv", "rows.parquet", "rows.txt", "rows.json"):
        assert run("sql", "SELECT 1 AS a, 'x' AS b WHERE false", "--out", file).returncode == 0
    assert (folder / "rows.csv").read_text() == "a,b\n"
    assert pq.read_schema(folder / "rows.parquet").names == ["a", "b"]
    assert "a" in (folder / "rows.txt").read_text(encoding="utf-8")
    assert json.loads((folder / "rows.json").read_text()) == []


def test_a_file_holds_the_statements_and_a_database_keeps_the_tables(run: Run, folder: Path) -> None:
    (folder / "make.sql").write_text("CREATE TABLE kept AS SELECT ai_query('chat', 'x') AS a", encoding="utf-8-sig")
    assert run("sql", "--file", "make.sql", "--db", "shop.duckdb").returncode == 0
    assert json.loads(
        run("sql", "SELECT count(*) AS n FROM kept", "--db", "shop.duckdb", "--format", "json").stdout
    ) == [{"n": 1}]


def test_databricks_spelling_runs_as_it_is_written(run: Run) -> None:
    done = run("sql", "SELECT named_struct('a', array(1)) AS `a b`", "--dialect", "databricks", "--format", "json")
    assert json.loads(done.stdout) == [{"a b": {"a": [1]}}], done.stderr


def test_a_notebook_runs_cell_by_cell_with_the_values_of_its_widgets(run: Run, tmp_path: Path) -> None:
    cells = [
        "CREATE TABLE t AS SELECT '${who}' AS w\n",
        "-- MAGIC %md Hello; there\n",
        "%sql\nSELECT w, :n AS n FROM t\n",
    ]
    file = tmp_path / "notebook.sql"
    file.write_text("-- Databricks notebook source\n" + "-- COMMAND ----------\n".join(cells))
    given = ["--dialect", "databricks", "--format", "json", "--var", "n=2"]
    done = run("sql", "--file", str(file), *given, "--var", "who=it's me")
    assert json.loads(done.stdout) == [{"w": "it's me", "n": "2"}], done.stderr
    missing = run("sql", "--file", str(file), *given)
    assert missing.returncode != 0 and "no value for who" in missing.stderr and "--var who=" in missing.stderr


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT ai_query('caht', 'x')", "chat"),
        ("SELECT ai_query('chat', 'x', nonsense => 1)", "nonsense"),
        ("SELECT 'not closed", "cannot be read"),
    ],
)
def test_a_wrong_statement_is_one_message_without_a_traceback(run: Run, sql: str, words: str) -> None:
    done = run("sql", sql)
    assert (done.returncode, words in done.stderr, "Traceback" in done.stderr, done.stdout) == (1, True, False, ""), (
        done
    )


def test_a_missing_file_is_a_message(run: Run) -> None:
    done = run("sql", "--file", "none.sql")
    assert (done.returncode, "none.sql" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def test_no_statement_is_wrong_usage(run: Run) -> None:
    assert run("sql", "-- only a comment").returncode == 2


def test_who_asks_stands_in_the_ledger(run: Run) -> None:
    asked = run("sql", "SELECT ai_query('chat', 'x')", "--user", "bob@example.com", "--group", "a", "--group", "b")
    done = run("sql", "SELECT requester FROM system.serving.endpoint_usage", "--format", "json")
    assert (asked.returncode, json.loads(done.stdout)) == (0, [{"requester": "bob@example.com"}])


def test_a_closed_pipe_is_quiet(folder: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "aiq.cli", "sql", "SELECT range AS i FROM range(500000)", "--format", "json"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, env=environment)
    assert child.stdout is not None and child.stderr is not None
    child.stdout.read(10)
    child.stdout.close()
    with child.stderr as stderr:
        said = stderr.read()
    child.wait(timeout=PATIENCE_S)
    assert said == b""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_a_statement_and_its_requests_end_as_cancelled(
    folder: Path, environment: dict[str, str], number: signal.Signals, code: int
) -> None:
    with SimulatorProcess.start(Profile(latency=Latency(fixed_ms=60_000))) as slow:
        file = folder / "conf" / "endpoints" / "sim.yml"
        text = file.read_text()
        file.write_text(text.replace(text.split("openai_api_base: ")[1].split("/v1")[0], slow.url))
        command = [sys.executable, "-m", "aiq.cli", "sql", "SELECT ai_query('chat', 'x')"]
        child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder, env=environment)
        while child.poll() is None and not slow.stats()["in_flight"]:
            pass  # it asks the simulator, which is what it waits for
        child.send_signal(number)
        said = child.communicate(timeout=PATIENCE_S)[1]
    assert (child.returncode, "Traceback" in said) == (code, False), said
    assert said.startswith("stopped: 1 request (0 reused, 0 failed)"), said
    assert [row["status"] for row in Tables(folder / ".aiq").to_arrow(CALLS_TABLE).to_pylist()] == ["cancelled"]


def test_a_receipt_ends_every_statement_with_calls(run: Run) -> None:
    statement = "SELECT ai_query('chat', 'Hello ' || i) AS a FROM range(3) AS r(i)"
    done = run("sql", f"SET aiq_reuse = 'session'; {statement}; {statement}; SELECT 1 AS a", "--format", "json")
    first, second = done.stderr.splitlines()
    assert re.fullmatch(r"3 requests \(0 reused, 0 failed\), \d+ tokens, \$0\.0\d+, \d+\.\d s", first), done.stderr
    assert re.fullmatch(r"3 requests \(3 reused, 0 failed\), 0 tokens, \$0, \d+\.\d s", second)


@pytest.mark.parametrize("quiet", [("--quiet",), ("-q",)])
def test_quiet_shows_no_receipt(run: Run, quiet: tuple[str]) -> None:
    assert run("sql", "SELECT ai_query('chat', 'Hello')", *quiet).stderr == ""
    assert run("sql", "SET aiq_quiet = true; SELECT ai_query('chat', 'Hello')").stderr == ""


def test_a_statement_that_asked_nothing_has_no_receipt(run: Run) -> None:
    done = run("sql", "SELECT ai_query('chat', i) FROM range(0) AS r(i); SELECT ai_query('chat', nope)")
    assert "request" not in done.stderr and "nope" in done.stderr


def test_a_row_that_ends_a_statement_is_named_and_the_others_are_kept(run: Run, simulator: SimulatorProcess) -> None:
    statement = "SELECT ai_query('chat', 'Tell me about ' || i) AS a FROM range(40) AS r(i)"
    simulator.reset()
    try:
        simulator.set_faults(FaultRate("content-filter", 1.0, after=10))
        failed = run("sql", statement)
    finally:
        simulator.reset()
    receipt, error, advice = failed.stderr.splitlines()
    assert receipt.startswith("failed: ") and error.startswith("aiq: [REMOTE_FUNCTION_HTTP_FAILED_ERROR]")
    assert re.search(r"The row's request begins: 'Tell me about \d+'\. With failOnError => false ", advice)
    assert "pays only for the rest" in advice
    kept = re.search(r"\((\d+) reused", run("sql", statement).stderr)
    assert kept is not None and int(kept.group(1)) >= 10


def test_an_output_that_cannot_be_written_is_found_before_anything_is_asked(
    run: Run, simulator: SimulatorProcess
) -> None:
    simulator.reset()
    done = run("sql", "SELECT ai_query('chat', 'x')", "--out", "nowhere/x.csv")
    assert (done.returncode, simulator.stats()["requests"]) == (2, 0)
