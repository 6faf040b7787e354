"""What each rule makes of a statement, as the files in rules/ show it, and that no rule touches what it need not."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from aiq.plan.rules import apply_rules
from aiq.plan.rules.call_out_of_subquery import call_out_of_subquery
from aiq.plan.rules.cheap_before_ai import cheap_before_ai
from aiq.plan.rules.filter_before_call import filter_before_call
from aiq.plan.rules.guard_merge import guard_merge
from aiq.plan.rules.limit_below_call import limit_below_call
from aiq.plan.rules.where_before_call import where_before_call

Rule = Callable[[exp.Expr], exp.Expr]
FOLDER = Path(__file__).parent / "rules"
RULES: dict[str, Rule] = {
    "call_out_of_subquery": call_out_of_subquery,
    "cheap_before_ai": partial(cheap_before_ai, cost=float),
    "filter_before_call": filter_before_call,
    "guard_merge": guard_merge,
    "limit_below_call": limit_below_call,
    "where_before_call": where_before_call,
}


def numbered(text: str) -> str:
    """`ai2(x)` as statements are rewritten to: the call of site 2."""
    return re.sub(r"\bai(\d+)\(", r"__aiq_string(\1, ", text)


def plain(text: str) -> str:
    """SQL in one form of spaces, line breaks and capitals."""
    return sqlglot.parse_one(numbered(text), read="duckdb").sql(dialect="duckdb", pretty=True)


def cases(rule: str) -> list[object]:
    """(rule, before, after) of each case of a rule's file; `after` None where the rule leaves it alone."""
    _, *parts = (FOLDER / f"{rule}.sql").read_text(encoding="utf-8").split("\n-- case: ")
    found: list[object] = []
    for part in parts:
        title, _, rest = part.partition("\n")
        before, becomes, after = rest.partition("\n-- becomes\n")
        if not becomes:
            before, _, _ = rest.partition("\n-- stays")
        found.append(pytest.param(rule, before, after if becomes else None, id=f"{rule}: {title}"))
    return found


ALL = [case for rule in RULES for case in cases(rule)]


@pytest.mark.parametrize(("rule", "before", "after"), ALL)
def test_a_rule_rewrites_a_statement(rule: str, before: str, after: str | None) -> None:
    tree = RULES[rule](sqlglot.parse_one(numbered(before), read="duckdb"))
    assert tree.sql(dialect="duckdb", pretty=True) == plain(before if after is None else after)


def test_every_rule_has_its_file() -> None:
    modules = {path.stem for path in Path(apply_rules.__code__.co_filename).parent.glob("[a-z]*.py")}
    assert {path.stem for path in FOLDER.glob("*.sql")} == modules == RULES.keys()


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
    tree = sqlglot.parse_one(numbered(text), read="duckdb")
    assert apply_rules(tree, float).sql(dialect="duckdb", pretty=True) == plain(text)


@pytest.mark.parametrize(("rule", "before", "after"), ALL)
def test_no_rule_loses_or_renumbers_a_call(rule: str, before: str, after: str | None) -> None:
    def sites(tree: exp.Expr) -> set[str]:
        return {call.expressions[0].name for call in tree.find_all(exp.Anonymous) if call.name == "__aiq_string"}

    wanted = sites(sqlglot.parse_one(numbered(before), read="duckdb"))
    assert sites(apply_rules(sqlglot.parse_one(numbered(before), read="duckdb"), float)) == wanted
