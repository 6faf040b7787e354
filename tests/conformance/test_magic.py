"""`%%ai_sql` in a real IPython shell: rows with their receipt, parameters, budgets, and errors of one line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import aiq
from aiq.simulator.process import SimulatorProcess
from tests.unit.cli.conftest import ENDPOINTS, SECRET


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("magic")
    (folder / "conf" / "endpoints").mkdir(parents=True)
    with SimulatorProcess.start() as simulator:
        (folder / "conf" / "endpoints" / "sim.yml").write_text(ENDPOINTS.format(url=simulator.url, secret=SECRET))
        yield folder


@pytest.fixture
def shell(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    monkeypatch.setenv("AIQ_SECRET_SIM_KEY", SECRET)
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "aiq")
    shell.user_ns["session"] = session = aiq.connect(conf=folder / "conf", home=folder / "home")
    session.sql("CREATE TABLE reviews AS SELECT i AS id, 'review ' || i AS body FROM range(5) AS r(i)")
    yield shell
    session.close()


def cell(shell: InteractiveShell, text: str) -> Any:
    """What a cell gives; its error is raised."""
    done = shell.run_cell(text, store_history=False)
    if done.error_in_exec is not None:
        raise done.error_in_exec
    return done.result


RECEIPT = r"(\d+) requests? \((\d+) reused, 0 failed\), [\d,]+ tokens, \$[\d.]+, [\d.]+ s"


def test_a_cell_gives_rows_with_what_they_took(shell: InteractiveShell) -> None:
    shell.user_ns["most"] = 3
    found = cell(shell, "%%ai_sql\nSELECT id, ai_query('chat', body) AS a FROM reviews WHERE id < $most ORDER BY id")
    assert [row[0] for row in found.rows.fetchall()] == [0, 1, 2]
    assert found.receipt == shell.user_ns["session"].last == found.rows.receipt
    assert (found.receipt.requests, found.receipt.failed) == (3, 0)
    words = found._repr_html_()
    assert words.count("<tr>") == 4 and re.search(RECEIPT, words)
    assert re.search(RECEIPT, repr(found))


def test_data_is_no_markup(shell: InteractiveShell) -> None:
    text = "SELECT '<script>alert(1)</script>' AS \"<b>\", NULL AS n, 1.5 AS x, true AS t, repeat('y', 1000) AS long"
    words = cell(shell, f"%%ai_sql\n{text}")._repr_html_()
    assert "<script" not in words and "<b>" not in words and "&lt;script&gt;" in words and "&lt;b&gt;" in words
    assert ">NULL</td>" in words and ">1.5</td>" in words and ">true</td>" in words
    assert "y" * 300 not in words


def test_many_rows_are_cut_and_that_is_said(shell: InteractiveShell) -> None:
    found = cell(shell, "%%ai_sql\nSELECT * FROM range(1000)")
    assert found._repr_html_().count("<tr>") == 51 and "the first 50 rows" in found._repr_html_()
    assert found.rows.aggregate("count(*)").fetchall() == [(1000,)]


def test_a_variable_takes_the_rows(shell: InteractiveShell) -> None:
    assert cell(shell, "%%ai_sql --to kept\nSELECT id FROM reviews ORDER BY id") is None
    kept = shell.user_ns["kept"]
    assert isinstance(kept, pandas.DataFrame) and list(kept["id"]) == [0, 1, 2, 3, 4]
    assert cell(shell, "%%ai_sql\nSELECT sum(id) AS s FROM kept").rows.fetchall() == [(10,)]


def test_parameters_are_the_notebooks_variables(shell: InteractiveShell) -> None:
    shell.user_ns.update(a=numpy.int64(4), b="it's", ids=[1, 2], price=5)
    found = cell(shell, "%%ai_sql\nSELECT $a AS a, $b AS b, list_contains($ids, 2) AS c, '$price' AS d")
    assert found.rows.fetchall() == [(4, "it's", True, "$price")]
    found = cell(shell, "%%ai_sql --dialect databricks\nSELECT :a + 1 AS `x`, :b AS b")
    assert found.rows.fetchall() == [(5, "it's")]
    shell.user_ns["frame"] = pandas.DataFrame({"x": [1]})
    with pytest.raises(aiq.StatementError, match="the variable frame is a DataFrame"):
        cell(shell, "%%ai_sql\nSELECT $frame")


def test_several_statements_run_and_the_last_rows_are_given(shell: InteractiveShell) -> None:
    found = cell(
        shell, "%%ai_sql\nSET aiq_reuse = 'session';\nCREATE TABLE made AS SELECT 7 AS v;\nSELECT v FROM made;"
    )
    assert found.rows.fetchall() == [(7,)] and found.receipt is None
    assert shell.user_ns["session"].settings.reuse.mode == "session"
    assert cell(shell, "%%ai_sql\nDROP TABLE made") is None


def test_explain_asks_nothing(shell: InteractiveShell) -> None:
    before = shell.user_ns["session"].last
    found = cell(shell, "%%ai_sql --explain\nSELECT ai_query('chat', body) FROM reviews")
    assert "requests" in found.rows.columns and found.receipt is None
    assert shell.user_ns["session"].last is before


def test_a_budget_holds_for_the_cell_alone(shell: InteractiveShell) -> None:
    with pytest.raises(aiq.BudgetExceeded):
        cell(shell, "%%ai_sql --max-cost 0.0000001\nSELECT ai_query('chat', body || '!') FROM reviews")
    assert shell.user_ns["session"].settings.max_cost_usd is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("%%ai_sql\nSELECT nothing FROM reviews", "BinderException: Binder Error"),
        ("%%ai_sql\nSELECT ai_query('chta', 'x')", "StatementError: Endpoint with name 'chta'"),
        ("%%ai_sql --tou x\nSELECT 1", "StatementError: %%ai_sql: unrecognized arguments: --tou x; it takes --to NAME"),
        ("%%ai_sql --max-cost -1\nSELECT 1", "StatementError: %%ai_sql: "),
        ("%%ai_sql --to a-b\nSELECT 1", "StatementError: %%ai_sql: --to takes the name of a variable, not a-b"),
        ("%%ai_sql --session nobody\nSELECT 1", "StatementError: the notebook has no session nobody"),
        ("%%ai_sql\n-- nothing", "StatementError: the cell has no statement"),
    ],
)
def test_an_error_is_its_message_alone(shell: InteractiveShell, text: str, line: str) -> None:
    with capture_output() as captured:
        done = shell.run_cell(text)
    assert done.error_in_exec is not None
    said = re.sub(r"\x1b\[[\d;]*m", "", captured.stdout + captured.stderr)
    assert said.startswith(line), said
    assert "Traceback" not in said and "aiq/" not in said


def test_without_a_session_one_is_opened_and_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIQ_SECRET_SIM_KEY", SECRET)
    monkeypatch.setenv("AIQ_CONF", str(folder / "conf"))
    monkeypatch.setenv("AIQ_HOME", str(folder / "home"))
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "aiq")
    assert cell(shell, "%%ai_sql\nSELECT 1 AS v").rows.fetchall() == [(1,)]
    path = os.fspath(folder / "shop.duckdb")
    cell(shell, f"%%ai_sql --db {path}\nCREATE TABLE t AS SELECT 2 AS v")
    assert cell(shell, f"%%ai_sql --db {path}\nSELECT v FROM t").rows.fetchall() == [(2,)]
    assert isinstance(shell.user_ns["session"], aiq.Session)
    with pytest.raises(Exception, match="t does not exist"):
        cell(shell, "%%ai_sql\nSELECT v FROM t")


def test_a_column_called_receipt_is_a_column(shell: InteractiveShell) -> None:
    found = shell.user_ns["session"].sql("SELECT ai_query('chat', 'x') AS receipt")
    assert found.receipt.columns == ["receipt"]
    derived = shell.user_ns["session"].sql("SELECT ai_query('chat', 'x') AS a").limit(1)
    assert derived.receipt is None
