"""What each rule makes of a statement, as the files in rules/ show it, and that no rule changes its result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from aiq.engines.duckdb.rewrite import tree
from aiq.engines.duckdb.rewrite.numbered import numbers_in
from aiq.engines.duckdb.rewrite.parts import parts
from aiq.engines.duckdb.rewrite.rules import apply_rules
from aiq.engines.duckdb.rewrite.rules.call_out_of_subquery import call_out_of_subquery
from aiq.engines.duckdb.rewrite.rules.cheap_before_ai import cheap_before_ai
from aiq.engines.duckdb.rewrite.rules.filter_before_call import filter_before_call
from aiq.engines.duckdb.rewrite.rules.guard_merge import guard_merge
from aiq.engines.duckdb.rewrite.rules.lateral_guard import lateral_guard
from aiq.engines.duckdb.rewrite.tree import Node
from aiq.sql import calls
from tests.unit.engines.duckdb.rewrite.cases import FOLDER, cases, database, named, numbered, printed, query

RULES: dict[str, Callable[[Node], None]] = {
    "call_out_of_subquery": call_out_of_subquery,
    "cheap_before_ai": lambda root: cheap_before_ai(root, float),
    "filter_before_call": filter_before_call,
    "lateral_guard": lateral_guard,
}
ALL = [
    pytest.param(rule, before, after, id=f"{rule}: {title}")
    for rule in RULES
    for title, before, after in cases(f"rules/{rule}.sql")
]
MERGES = [pytest.param(before, after, id=title) for title, before, after in cases("rules/guard_merge.sql")]
SEEDS = range(4)


def ruled(rule: str, text: str) -> str:
    """A query that one rule has changed, as DuckDB prints it."""
    found = query(text)
    root = {"query": found.node}
    RULES[rule](root)
    made = found.with_node(root["query"]).text()
    assert made is not None
    return made


@pytest.mark.parametrize(("rule", "before", "after"), ALL)
def test_a_rule_rewrites_a_query(rule: str, before: str, after: str | None) -> None:
    assert named(ruled(rule, before)) == named(printed(before if after is None else after))


@pytest.mark.parametrize(("rule", "before", "after"), ALL)
def test_a_rule_keeps_the_rows(rule: str, before: str, after: str | None) -> None:
    for seed in SEEDS:
        db = database(seed)
        assert Counter(map(repr, db.rows(ruled(rule, before)))) == Counter(map(repr, db.rows(before)))


@pytest.mark.parametrize(("rule", "before", "after"), [case for case in ALL if "ai2" not in str(case.values[1])])
def test_a_rule_asks_nothing_that_was_not_asked_before(rule: str, before: str, after: str | None) -> None:
    for seed in SEEDS:
        db = database(seed)
        assert db.asks(ruled(rule, before)) <= db.asks(before)


def guarded(text: str) -> str:
    """A MERGE with its values guarded; what is not understood as one stays as it is."""
    found = parts(numbered(text))
    edits = [] if found is None or found.where is None else guard_merge(numbered(text), found)
    return calls.replace(numbered(text), edits)


@pytest.mark.parametrize(("before", "after"), MERGES)
def test_the_values_of_a_merge_are_guarded(before: str, after: str | None) -> None:
    assert calls.words(guarded(before)) == calls.words(numbered(before if after is None else after))


@pytest.mark.parametrize(("before", "after"), MERGES)
def test_a_guarded_merge_writes_the_same_rows(before: str, after: str | None) -> None:
    for seed in SEEDS:
        db = database(seed)
        assert db.written(before) == db.written(guarded(before))


def test_every_rule_has_its_file() -> None:
    modules = {path.stem for path in Path(apply_rules.__code__.co_filename).parent.glob("[a-z]*.py")}
    assert {path.stem for path in (FOLDER / "rules").glob("*.sql")} == modules == {*RULES, "guard_merge"}


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a, b FROM t WHERE a > 1 AND b < 2 OR c IS NULL ORDER BY a + b LIMIT 5",
        "SELECT (SELECT max(b) FROM u WHERE u.a = t.a) AS m FROM t",
        "SELECT count(*) FILTER (WHERE a > 1) FROM t JOIN u ON t.a = u.a AND t.b > u.b",
        "SELECT ai1(a) AS r FROM t WHERE b > 1",
    ],
)
def test_rules_leave_alone_what_they_are_not_for(text: str) -> None:
    found = query(text)
    apply_rules(found, float)
    assert tree.same(found.node, query(text).node)


@pytest.mark.parametrize(("rule", "before", "after"), ALL)
def test_no_rule_loses_or_renumbers_a_call(rule: str, before: str, after: str | None) -> None:
    found = query(before)
    apply_rules(found, float)
    assert set(numbers_in(found.node)) == set(numbers_in(query(before).node))
