"""Random statements over random tables: lifted, they give the rows that DuckDB gives for a plain function.

The provider is a function of the prompt in this process, so that thousands of statements fit in a minute.
`AIQ_FUZZ_EXAMPLES` says how many statements are drawn (with `--timeout 0` for many); `AIQ_FUZZ_RANDOM` draws others
each time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import pytest
from hypothesis import HealthCheck, given, note, reject, settings
from hypothesis import strategies as st

from tests.conformance.side_by_side import Pair, open_pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import ConfFolder

EXAMPLES = int(os.environ.get("AIQ_FUZZ_EXAMPLES", "300"))
TABLES = ("t", "u")


_CONSTANT = re.compile(r"(\(|, |SELECT |THEN |ELSE )'(?!chat|blue|red', 'blue)")
"""A literal that may be a whole request. DuckDB answers those of a plain function while it plans, before it looks at
any row, and may see that no row passes."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, make_conf: Callable[[Path, str], ConfFolder]) -> Iterator[Pair]:
    with open_pair(tmp_path_factory.mktemp("differential"), make_conf) as made:
        yield made


# The grammar. Every expression is total: it raises no error whatever the values are.

WORDS = ("a", "b", "yes", "red", "")
COLUMNS = ("id", "k", "s")


class Scope(NamedTuple):
    """What an expression may name: table aliases that have `id`, `k` and `s`, and text columns beside them."""

    aliases: tuple[str, ...]
    texts: tuple[str, ...] = ()
    depth: int = 2


@st.composite
def texts(draw: Any, scope: Scope, calls: bool = True) -> str:
    """An expression of type VARCHAR."""
    leaves = [f"{alias}.s" for alias in scope.aliases] + list(scope.texts)
    leaf = st.sampled_from(leaves)
    kinds = ["leaf", "leaf", "word", "concat"]
    if scope.depth > 0:
        kinds += ["coalesce", "case", "upper", "nullif"]
        if calls:
            kinds += ["call", "call", "call", "call", "scalar"]
    kind = draw(st.sampled_from(kinds))
    less = scope._replace(depth=scope.depth - 1)
    if kind == "leaf":
        return str(draw(leaf))
    if kind == "word":
        return f"'{draw(st.sampled_from(WORDS))}'"
    if kind == "concat":
        return f"({draw(leaf)} || '{draw(st.sampled_from(WORDS))}')"
    if kind == "call":
        return f"ai_query('chat', {draw(texts(less, calls))})"
    if kind == "scalar":
        alias = f"z{scope.depth}"
        inner = Scope((alias,), (), 1)
        where = draw(conditions(inner, draw(st.booleans())))
        outer = scope.aliases[0]
        link = draw(st.sampled_from([f"{alias}.k = {outer}.k", f"{alias}.id = {outer}.id", "true"]))
        value = draw(texts(inner))
        pattern = draw(st.sampled_from(["max({})", "min({})", "call-max"]))
        shown = f"ai_query('chat', max({value}))" if pattern == "call-max" else pattern.format(value)
        return f"(SELECT {shown} FROM {draw(st.sampled_from(TABLES))} AS {alias} WHERE {link} AND {where})"
    first, second = draw(texts(less, calls)), draw(texts(less, calls))
    if kind == "coalesce":
        return f"coalesce({first}, {second})"
    if kind == "upper":
        return f"upper({first})"
    if kind == "nullif":
        return f"nullif({first}, {second})"
    condition = draw(conditions(less, calls))
    otherwise = draw(st.sampled_from(["", f" ELSE {second}"]))
    return f"CASE WHEN {condition} THEN {first}{otherwise} END"


@st.composite
def conditions(draw: Any, scope: Scope, calls: bool = True) -> str:
    """An expression of type BOOLEAN."""
    alias = draw(st.sampled_from(scope.aliases))
    less = scope._replace(depth=scope.depth - 1)
    kinds = ["number", "null", "text"]
    if scope.depth > 0:
        kinds += ["and", "or", "not", "answer", "answer", "compare"] if calls else ["and", "or", "not"]
        if calls and len(scope.aliases) == 1:
            kinds += ["in", "exists"]
    kind = draw(st.sampled_from(kinds))
    if kind == "number":
        column, operator = draw(st.sampled_from(["id", "k"])), draw(st.sampled_from(["<", ">=", "=", "<>"]))
        return f"{alias}.{column} {operator} {draw(st.integers(0, 4))}"
    if kind == "null":
        return f"{alias}.{draw(st.sampled_from(['k', 's']))} IS {draw(st.sampled_from(['', 'NOT ']))}NULL"
    if kind == "text":
        return f"{alias}.s {draw(st.sampled_from(['=', '<>', '<']))} '{draw(st.sampled_from(WORDS))}'"
    if kind == "not":
        return f"NOT ({draw(conditions(less, calls))})"
    if kind in ("and", "or"):
        return f"({draw(conditions(less, calls))} {kind.upper()} {draw(conditions(less, calls))})"
    if kind == "answer":
        test = draw(
            st.sampled_from(
                ["= 'yes'", "<> 'no'", "LIKE '%e%'", "IN ('red', 'blue')", "IS NULL", "IS NOT NULL", "> 'no'"]
            )
        )
        return f"ai_query('chat', {draw(texts(less._replace(depth=min(less.depth, 1))))}) {test}"
    if kind == "compare":
        return f"{draw(texts(less))} {draw(st.sampled_from(['=', '<', 'IS DISTINCT FROM']))} {draw(texts(less))}"
    table, inner = draw(st.sampled_from(TABLES)), Scope((f"y{scope.depth}",), (), 1)
    where = draw(conditions(inner))
    negated = draw(st.sampled_from(["", "NOT "]))
    if kind == "in":
        return f"{alias}.k {negated}IN (SELECT y{scope.depth}.k FROM {table} AS y{scope.depth} WHERE {where})"
    return f"{negated}EXISTS (SELECT 1 FROM {table} AS y{scope.depth} WHERE y{scope.depth}.k = {alias}.k AND {where})"


@st.composite
def sources(draw: Any) -> tuple[str, Scope]:
    """What stands behind FROM, and what it offers."""
    kind = draw(
        st.sampled_from(["table", "table", "using", "on", "comma", "left", "right", "full", "derived", "derived-join"])
    )
    if kind == "table":
        return "t AS a", Scope(("a",))
    if kind == "comma":
        return "t AS a, u AS b", Scope(("a", "b"), (), 1)
    if kind == "using":
        return f"t AS a {draw(st.sampled_from(['', 'LEFT ']))}JOIN u AS b USING (k)", Scope(("a", "b"), (), 1)
    if kind in ("on", "left", "right", "full"):
        side = "" if kind == "on" else kind.upper() + " "
        condition = f"a.{draw(st.sampled_from(['k', 'id']))} = b.k"
        more = draw(st.sampled_from(["", "and"]))
        # DuckDB takes no condition but equality in some outer joins, nor a subquery in a condition.
        if more and kind != "full":
            extra = draw(conditions(Scope(("a", "b"), (), 1)))
            if "SELECT" not in extra:
                condition += f" AND {extra}"
        return f"t AS a {side}JOIN u AS b ON {condition}", Scope(("a", "b"), (), 1)
    inner = draw(texts(Scope(("d",))))
    where = draw(st.sampled_from(["", " WHERE "]))
    if where:
        where += draw(conditions(Scope(("d",), (), 1)))
    derived = f"(SELECT d.id, d.k, d.s, {inner} AS w FROM t AS d{where}) AS a"
    if kind == "derived":
        return derived, Scope(("a",), ("a.w",))
    return f"{derived} JOIN u AS b ON a.id = b.k", Scope(("a", "b"), ("a.w",), 1)


@st.composite
def selects(draw: Any) -> str:
    """A SELECT with two columns."""
    source, scope = draw(sources())
    where = f" WHERE {draw(conditions(scope))}" if draw(st.booleans()) else ""
    kind = draw(st.sampled_from(["rows", "rows", "rows", "distinct", "group", "aggregate", "window", "qualify"]))
    value, ids = draw(texts(scope)), ", ".join(f"{alias}.id" for alias in scope.aliases)
    if kind == "rows":
        return f"SELECT {scope.aliases[0]}.id AS x, {value} AS y FROM {source}{where}"
    if kind == "distinct":
        return f"SELECT DISTINCT {scope.aliases[0]}.k AS x, {value} AS y FROM {source}{where}"
    if kind == "window":
        over = f"PARTITION BY {draw(texts(scope._replace(depth=1)))} ORDER BY {ids}"
        function = draw(st.sampled_from(["row_number()", "count(*)", "rank()"]))
        return f"SELECT {function} OVER ({over}) AS x, {value} AS y FROM {source}{where}"
    if kind == "qualify":
        over = f"PARTITION BY {scope.aliases[0]}.k ORDER BY {ids}"
        test = draw(st.sampled_from(["", f" AND {draw(conditions(scope._replace(depth=1)))}"]))
        if "SELECT" in test:
            test = ""
        row = f"SELECT {scope.aliases[0]}.id AS x, {value} AS y"
        return f"{row} FROM {source}{where} QUALIFY row_number() OVER ({over}) = 1{test}"
    aggregate = draw(st.sampled_from(["max({})", "count({})", "count(DISTINCT {})", "filter"]))
    filtered = draw(conditions(scope._replace(depth=1)))
    if aggregate == "filter" and "SELECT" not in filtered:
        shown = f"max({value}) FILTER (WHERE {filtered})"
    else:
        shown = aggregate.replace("filter", "min({})").format(value)
    if kind == "aggregate":
        return f"SELECT count(*) AS x, {shown} AS y FROM {source}{where}"
    key = draw(texts(scope._replace(depth=1)))
    having = draw(
        st.sampled_from(
            ["", "", " HAVING count(*) > 1", f" HAVING ai_query('chat', max({scope.aliases[0]}.s)) <> 'no'"]
        )
    )
    key = f"{scope.aliases[0]}.k" if "SELECT" in key else key
    return f"SELECT {key} AS x, {shown} AS y FROM {source}{where} GROUP BY {key}{having}"


@st.composite
def statements(draw: Any) -> str:
    """A whole statement, with a call in it, whose rows do not depend on the order of evaluation."""
    statement = draw(forms())
    if "ai_query" in statement:
        return statement
    return f"SELECT x, ai_query('chat', y::VARCHAR) AS y FROM ({statement}) AS s WHERE x IS NOT NULL"


@st.composite
def forms(draw: Any) -> str:
    """One or two SELECTs, combined."""
    one = draw(selects())
    kind = draw(st.sampled_from(["plain", "plain", "limit", "limit", "union", "cte", "outer", "outer-where"]))
    if kind == "limit":  # two rows that tie in both columns are the same row
        order = draw(st.sampled_from(["x, y", "y, x DESC", "x DESC NULLS LAST, y"]))
        return f"{one} ORDER BY {order} LIMIT {draw(st.integers(0, 4))}"
    if kind == "union":
        operator = draw(st.sampled_from(["UNION", "UNION ALL", "EXCEPT", "INTERSECT"]))
        cast = "SELECT x::VARCHAR AS x, y::VARCHAR AS y FROM ({}) AS s"
        return f"{cast.format(one)} {operator} {cast.format(draw(selects()))}"
    if kind == "cte":
        kept = draw(st.sampled_from(["", " MATERIALIZED", " NOT MATERIALIZED"]))
        joined = "c AS m JOIN c AS n ON m.x = n.x WHERE m.y IS NOT DISTINCT FROM n.y"
        return f"WITH c AS{kept} ({one}) SELECT m.x, n.y FROM {joined}"
    if kind == "outer":
        return f"SELECT x, y, ai_query('chat', y::VARCHAR) AS z FROM ({one}) AS s WHERE x IS NOT NULL"
    if kind == "outer-where":
        return f"SELECT y FROM ({one}) AS s WHERE ai_query('chat', y::VARCHAR) <> 'no' AND x::VARCHAR < '3'"
    return one


ROWS = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 3, None]), st.sampled_from([*WORDS, "c", "no", None])), min_size=1, max_size=8
)


FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="AIQ_FUZZ_RANDOM" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)


def of_plain_function(pair: Pair, sql: str) -> list[Any]:
    """The rows that DuckDB gives by itself, in one order. What it cannot plan by itself is no example."""
    try:
        return sorted(pair.plain.execute(sql).fetchall(), key=repr)
    except duckdb.InvalidInputException as error:
        if "did not return a BoundFunctionExpression" not in str(error):  # DuckDB 2.0, of nullif() under a window
            raise
        reject()


@FUZZ
@given(t=ROWS, u=ROWS, sql=statements())
def test_a_lifted_statement_gives_the_rows_of_a_plain_function(pair: Pair, t: Any, u: Any, sql: str) -> None:
    pair.load({"t": t, "u": u})
    note(sql)
    pair.evaluated.clear()
    expected = of_plain_function(pair, sql)
    pair.transport.asked.clear()
    result = pair.session.sql(sql)
    assert result is not None
    assert sorted(result.fetchall(), key=repr) == expected
    asked = pair.transport.asked
    assert len(asked) == len(set(asked)), "a request was paid twice"
    # Of a column with one value, DuckDB knows the value while it plans, and evaluates calls on it as on a literal.
    one_valued = any(len({row[column] for row in rows}) == 1 for rows in (t, u) for column in (0, 1))
    if not _CONSTANT.search(sql) and not one_valued:
        assert set(asked) <= pair.evaluated, "a request was asked that the plain function was not evaluated for"


@settings(FUZZ, max_examples=EXAMPLES // 2)
@given(t=ROWS, u=ROWS, sql=statements())
def test_answers_of_the_session_give_the_same_rows_and_ask_nothing(pair: Pair, t: Any, u: Any, sql: str) -> None:
    pair.load({"t": t, "u": u})
    note(sql)
    expected = of_plain_function(pair, sql)
    for again in (False, True, True):  # the last one as it was remembered
        pair.transport.asked.clear()
        result = pair.session.sql(f"/*+ aiq_reuse(session) */ {sql}")
        assert result is not None
        assert sorted(result.fetchall(), key=repr) == expected
        assert not (again and pair.transport.asked)
