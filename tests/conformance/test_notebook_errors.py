"""What a notebook shows of an error: the message, not the source of aiq that led to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from IPython.core.interactiveshell import InteractiveShell

import aiq

if TYPE_CHECKING:
    from tests.conftest import ConfFolder


@pytest.fixture
def cell(conf: ConfFolder, home: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[str], str]]:
    """Runs a cell that has a `session`, and gives what IPython shows."""
    with aiq.connect(conf=conf.path, home=home) as session:
        shell = InteractiveShell.instance(colors="nocolor")
        shell.user_ns["session"] = session

        def run(text: str) -> str:
            capsys.readouterr()
            shell.run_cell(text)
            return "".join(capsys.readouterr()).strip()

        yield run
        InteractiveShell.clear_instance()


def test_our_own_error_is_its_message(cell: Callable[[str], str]) -> None:
    shown = cell("session.sql(\"SELECT ai_query('caht', 'x')\")")
    assert shown.startswith("StatementError: ") and "chat" in shown and len(shown.splitlines()) == 1


def test_an_error_of_duckdb_is_its_message_and_the_place(cell: Callable[[str], str]) -> None:
    shown = cell("session.sql(\"SELECT ai_query('chat', nope) FROM range(3) AS r(i)\")")
    assert shown.startswith('BinderException: Binder Error: Referenced column "nope"') and shown.endswith("^")
    assert "Traceback" not in shown and "aiq/" not in shown and len(shown.splitlines()) < 7


def test_a_mistake_in_the_cell_itself_keeps_its_traceback(cell: Callable[[str], str]) -> None:
    assert "Traceback" in cell("session.sql(nope)")


def test_a_function_is_called_by_its_name_where_no_argument_follows(cell: Callable[[str], str]) -> None:
    shown = cell("session.sql(\"SELECT ai_query('chat', 'x') OVER ()\")")
    assert shown.splitlines()[0] == "CatalogException: Catalog Error: ai_query is not an aggregate function"
