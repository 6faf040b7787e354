"""A statement sees the variables of whoever called us, and none of ours."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import duckdb
import pytest

from aiq.engines.duckdb.frames import call_seeing, variables_of_caller

of_this_module = "global"


def module(name: str, source: str) -> dict[str, Any]:
    """The names of a module of that name."""
    made = ModuleType(name)
    exec(source, made.__dict__)
    return made.__dict__


def test_a_local_variable_is_found() -> None:
    mine = object()
    assert variables_of_caller(["mine"]) == {"mine": mine}


def test_a_global_variable_is_found() -> None:
    assert variables_of_caller(["of_this_module"]) == {"of_this_module": "global"}


def test_a_local_variable_hides_a_global_one() -> None:
    of_this_module = "local"
    assert variables_of_caller(["of_this_module"]) == {"of_this_module": of_this_module}


def test_the_nearest_caller_comes_first() -> None:
    def inner() -> dict[str, Any]:
        both = "inner"  # noqa: F841
        return variables_of_caller(["both", "outer"])

    both, outer = "outer", "outer"  # noqa: F841
    assert inner() == {"both": "inner", "outer": "outer"}


def test_only_what_is_asked_for_is_found() -> None:
    mine, other = 1, 2  # noqa: F841
    assert variables_of_caller(["mine", "no_such_variable"]) == {"mine": 1}
    assert variables_of_caller([]) == {}


@pytest.mark.parametrize("name", ["aiq.engines.duckdb.session", "aiq.anything", "aiq"])
def test_our_own_variables_are_not_found(name: str) -> None:
    ours = module(name, "text = 'ours'\ndef run(find):\n    text, local_of_ours = 'ours', 1\n    return find()")
    text = "caller's"
    found = ours["run"](lambda: variables_of_caller(["text", "local_of_ours"]))
    assert found == {"text": text}


def test_a_module_whose_name_only_begins_like_ours_is_a_caller() -> None:
    theirs = module("aiquarium", "def run(find):\n    fish = 'theirs'\n    return find(['fish'])")
    assert theirs["run"](variables_of_caller) == {"fish": "theirs"}


def test_code_without_a_module_is_a_caller() -> None:
    space: dict[str, Any] = {"find": variables_of_caller}
    exec("fish = 'theirs'\nfound = find(['fish'])", space)
    assert space["found"] == {"fish": "theirs"}


@pytest.mark.parametrize("name", [None, 7])
def test_code_of_a_module_with_an_odd_name_is_a_caller(name: object) -> None:
    space: dict[str, Any] = {"find": variables_of_caller, "__name__": name}
    exec("fish = 'theirs'\nfound = find(['fish'])", space)
    assert space["found"] == {"fish": "theirs"}


def test_a_call_sees_the_variables_it_is_given_and_no_others() -> None:
    def seen(text: str, **options: Any) -> tuple[str, dict[str, Any], set[str]]:
        frame = sys._getframe(1)
        names = {name for name in {**frame.f_globals, **frame.f_locals} if not name.startswith("__")}
        return text, options, names

    hidden = 1  # noqa: F841
    assert call_seeing({"mine": 1}, seen, "SELECT 1", params=[2]) == ("SELECT 1", {"params": [2]}, {"mine"})


def test_duckdb_reads_a_table_of_the_caller_and_none_of_ours() -> None:
    with duckdb.connect() as con:
        mine = con.sql("SELECT 42 AS x").to_arrow_table()
        ours = mine  # noqa: F841
        assert call_seeing({"mine": mine}, con.sql, "SELECT x FROM mine").fetchall() == [(42,)]
        with pytest.raises(duckdb.CatalogException, match="ours"):
            call_seeing({"mine": mine}, con.sql, "SELECT x FROM ours")


def test_a_callers_variables_are_not_changed_by_a_call() -> None:
    variables = {"mine": 1}
    call_seeing(variables, lambda text: text, "SELECT 1")
    assert variables == {"mine": 1}
