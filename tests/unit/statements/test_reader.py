"""Who is there to read what a statement says beside its result."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from aiq.config.endpoint import Settings
from aiq.statements.reader import show, speaks


@pytest.mark.parametrize(
    ("quiet", "progress", "said"),
    [(None, True, False), (None, False, False), (False, False, True), (True, True, False)],
)
def test_a_process_whose_errors_go_to_a_file_says_only_what_it_is_asked_for(
    quiet: bool | None, progress: bool, said: bool
) -> None:
    assert speaks(Settings(progress=progress), quiet) is said


def test_a_process_that_has_loaded_a_kernels_package_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert not speaks(Settings(), None)


def test_a_line_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    show("one line")
    assert capsys.readouterr().err == "one line\n"


def test_a_notebook_shows_it_under_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel shows what a cell gives first, and tells of the cell's end after that."""
    waiting: list[Any] = []
    shown: list[str] = []
    events = SimpleNamespace(
        register=lambda _, said: waiting.append(said), unregister=lambda _, said: waiting.remove(said)
    )
    display = SimpleNamespace(display=shown.append, Pretty=str)
    ipython = SimpleNamespace(get_ipython=lambda: SimpleNamespace(events=events, kernel=True), display=display)
    monkeypatch.setitem(sys.modules, "ipykernel", ipython)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert speaks(Settings(), None)
    show("one line")
    assert shown == []
    for said in list(waiting):
        said(None)
    assert (shown, waiting) == (["one line"], [])
