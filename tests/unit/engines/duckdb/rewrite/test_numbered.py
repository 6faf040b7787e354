"""Numbered calls in a tree: their requests, with a type where the function is told one, and what may combine rows."""

from __future__ import annotations

import pytest

from aiq.engines.duckdb.rewrite.numbered import (
    TYPE,
    calls_with_places,
    has_call,
    is_call,
    may_aggregate,
    number_of,
    numbers_in,
    requests_of,
    selects,
    with_requests,
)
from aiq.engines.duckdb.rewrite.tree import Node, expression, expression_text, same
from tests.unit.engines.duckdb.rewrite.cases import numbered, query

TYPED = f"ai7(body, NULL, {TYPE.format('body')})"


def call(text: str) -> Node:
    return expression(numbered(text))


@pytest.mark.parametrize(
    ("text", "requests"), [("ai1(body)", ["body"]), ("ai1(body, photo)", ["body", "photo"]), (TYPED, ["body"])]
)
def test_the_requests_of_a_call_are_what_it_is_asked_with(text: str, requests: list[str]) -> None:
    assert list(map(expression_text, requests_of(call(text)))) == requests


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("ai1(body)", "ai1(upper(a))"),
        ("ai1(body, photo)", "ai1(upper(a), upper(a))"),
        (TYPED, f"ai7(upper(a), NULL, {TYPE.format('upper(a)')})"),
    ],
)
def test_a_call_with_other_requests_is_told_their_type(text: str, made: str) -> None:
    one = call(text)
    other = with_requests(one, [expression("upper(a)") for _ in requests_of(one)])
    assert same(other, call(made)) and same(one, call(text))


def test_a_call_has_its_sites_number() -> None:
    assert number_of(call("ai12(body)")) == 12
    assert numbers_in(call("ai1(ai2(a) || ai1(b))")) == [1, 2, 1]


@pytest.mark.parametrize(
    ("text", "itself", "within"),
    [
        ("ai1(a)", True, True),
        ("upper(ai1(a))", False, True),
        ("(SELECT ai1(a) FROM t)", False, True),
        ("__aiq_c1", False, False),
        ("'ai1(a)'", False, False),
    ],
)
def test_calls_are_known_by_their_names(text: str, itself: bool, within: bool) -> None:
    assert (is_call(call(text)), has_call(call(text))) == (itself, within)


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ("a || upper(b)", False),
        ("ai1(a)", False),
        ("ai1(max(a))", True),
        ("lag(a) OVER ()", True),
        ("its_macro(a)", True),
    ],
)
def test_what_may_combine_rows_is_known(text: str, may: bool) -> None:
    assert may_aggregate(call(text)) is may


def test_each_call_comes_with_what_is_around_it() -> None:
    root = query("SELECT upper(ai1(ai2(a))) FROM (SELECT a FROM t) AS q").node
    found = [(number_of(node), [each["type"] for each in around]) for node, around in calls_with_places(root)]
    assert found == [(1, ["SELECT_NODE", "FUNCTION"]), (2, ["SELECT_NODE", "FUNCTION", "FUNCTION"])]
    assert len(selects(root)) == 2
