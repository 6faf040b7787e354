"""DuckDB's tree of a query: what is printed reads back as the same tree, or is not printed at all."""

from __future__ import annotations

import threading
from copy import deepcopy

import duckdb
import pytest

from aiq.engines.duckdb.rewrite import tree
from aiq.engines.duckdb.rewrite.function_kinds import is_aggregate, is_scalar
from aiq.engines.duckdb.rewrite.tree import Node, expression, nodes, places, same

READ = [
    "SELECT 1",
    "SELECT 1;",
    "FROM t",
    "TABLE t",
    "FROM t SELECT a, b AS c WHERE a > 1",
    "VALUES (1, 'a'), (2, NULL)",
    "SELECT * FROM (VALUES (1), (2)) AS v(x)",
    "SELECT a IN (VALUES (1), (2)) FROM t",
    "SELECT a LIKE 'x!%' ESCAPE '!', a NOT ILIKE b ESCAPE 'e', a SIMILAR TO 'x' FROM t",
    "SELECT [x + 1 FOR x IN l IF x > 1] FROM t",
    "SELECT list_transform(l, lambda x, i: x + i) FROM t",
    "SELECT * EXCLUDE (b, a) REPLACE (c + 1 AS c) RENAME (d AS e) FROM t",
    "SELECT t.* EXCLUDE (t.a), COLUMNS('a.*') FROM t",
    "SELECT {'a': 1, 'b c': {'d': [1, 2]}}, struct_pack(k := x), MAP {'a': 1} FROM t",
    "SELECT j ->> 'user.id', j -> '$.a', j['x'], s.a.b, l[1:2] FROM t",
    "SELECT date_trunc(g, ts), .5, 1e3, 1_000, 'ab'::BLOB, INTERVAL 1 DAY, DATE '2020-01-01' FROM t",
    "SELECT body::VARCHAR, TRY_CAST(a AS INT), a::DECIMAL(10, 2)[], a::STRUCT(x INT, y VARCHAR) FROM t",
    "SELECT count(*) FILTER (WHERE a > 1), sum(DISTINCT a), list(a ORDER BY b DESC NULLS FIRST) FROM t",
    "SELECT lag(a IGNORE NULLS) OVER (PARTITION BY b ORDER BY c ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
    "SELECT first_value(a) OVER w FROM t WINDOW w AS (ORDER BY b)",
    "SELECT CASE a WHEN 1 THEN 2 ELSE 3 END, a IS DISTINCT FROM b, a NOT BETWEEN 1 AND 2 FROM t",
    "SELECT a FROM t WHERE a = ANY (SELECT 1) AND NOT EXISTS (FROM u WHERE u.a = t.a)",
    "SELECT a FROM t GROUP BY ALL HAVING count(*) > 1 QUALIFY rank() OVER () = 1 ORDER BY ALL LIMIT 10% OFFSET 2",
    "SELECT a FROM t GROUP BY GROUPING SETS ((a), (), (a, b)) ORDER BY a DESC NULLS LAST, 2",
    "SELECT DISTINCT ON (a) a, b FROM t",
    "SELECT a FROM t UNION ALL BY NAME (SELECT b FROM u ORDER BY b LIMIT 1)",
    "SELECT 1 INTERSECT ALL SELECT 2 EXCEPT SELECT 3",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT * FROM r",
    "WITH a AS MATERIALIZED (SELECT 1), b(x) AS NOT MATERIALIZED (FROM a) SELECT * FROM b",
    "SELECT * FROM t NATURAL JOIN u SEMI JOIN v USING (a, b) ASOF LEFT JOIN w ON t.a >= w.a",
    "SELECT * FROM t, LATERAL (SELECT t.a) AS l(x) CROSS JOIN unnest(t.l) AS n(y) POSITIONAL JOIN z",
    "SELECT * FROM t TABLESAMPLE 10%",
    "SELECT * FROM read_csv('x.csv', header = true, columns = {'a': 'INT'})",
    "PIVOT t ON a IN ('x', 'y') USING count(*)",
    "UNPIVOT t ON a, b INTO NAME n VALUE v",
    'SELECT "weird "" name" AS "select", \'it\'\'s\', e\'a\\nb\', $$x\'y$$, größe FROM d.s."my table" AS "q r"("a b")',
    "SELECT a, -- why\n b /* and ; */ FROM t",
    "SELECT $name, $aiq_1 FROM t",
]


@pytest.mark.parametrize("text", READ)
def test_what_is_printed_reads_back_as_the_same_tree(text: str) -> None:
    found = tree.read(text)
    assert found is not None
    printed = found.text()
    again = None if printed is None else tree.read(printed)
    assert printed is not None and again is not None
    assert same(again.node, found.node)
    assert again.text() is not None


@pytest.mark.parametrize(
    "text",
    [
        "VALUES (1, 'a'), (2, NULL)",
        "SELECT x FROM (VALUES (1), (2)) AS v(x) WHERE x NOT IN (VALUES (2))",
        "SELECT 'a%' LIKE 'a!%' ESCAPE '!' AS a, 'B' ILIKE 'b' ESCAPE '!' AS b, 'x' NOT LIKE 'y' ESCAPE 'z' AS c",
        "SELECT [x + 1 FOR x IN [1, 2, 3] IF x > 1] AS l, {'a': .5, 'b c': 1e3} AS s, MAP {'k': 1} AS m",
        "SELECT * EXCLUDE (b, a) REPLACE (c + 1 AS c) RENAME (d AS e) FROM (SELECT 1 AS a, 2 AS b, 3 AS c, 4 AS d)",
        "SELECT '{\"user.id\": 7}'::JSON ->> 'user.id' AS a, '{\"user\": {\"id\": 8}}'::JSON -> '$.user.id' AS b",
        "SELECT date_trunc(g, TIMESTAMP '2020-02-03 04:05:06') AS d FROM (VALUES ('month'), ('hour')) AS v(g)",
        "SELECT 7::VARCHAR, 1 + 1, 'a' || 'b', struct_pack(k := 1), CAST([1] AS DOUBLE[])",
        "SELECT lag(x IGNORE NULLS) OVER (ORDER BY i) AS l FROM (VALUES (1, 1), (2, NULL), (3, 3)) AS v(i, x)",
        "SELECT first(x ORDER BY i DESC) FILTER (WHERE x > 1) AS f FROM (VALUES (1, 1), (2, 4), (3, NULL)) AS v(i, x)",
        "SELECT NULL IS DISTINCT FROM 1 AS a, 2 BETWEEN 1 AND 3 AS b, NOT true OR false AS c, -(-1) AS d, 2 ** 3 AS e",
        "SELECT i FROM range(9) AS r(i) ORDER BY i % 2, i DESC LIMIT 30% OFFSET 1",
    ],
)
def test_what_is_printed_gives_the_same_columns_and_rows(text: str) -> None:
    found = tree.read(text)
    printed = None if found is None else found.text()
    assert printed is not None
    with duckdb.connect() as con:
        for described in (True, False):
            before, after = (con.execute(f"DESCRIBE {one}" if described else one).fetchall() for one in (text, printed))
            assert after == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT FROM WHERE (",
        "SELECT 1; SELECT 2",
        "INSERT INTO t VALUES (1)",
        "CREATE TABLE t AS SELECT 1",
        "EXPLAIN SELECT 1",
        "PIVOT t ON a USING count(*)",
        "SELECT 'open",
    ],
)
def test_other_texts_have_no_tree(text: str) -> None:
    assert tree.read(text) is None


def test_a_tree_that_is_printed_as_something_else_gives_no_text() -> None:
    grouped = tree.read("SELECT a FROM t GROUP BY CUBE (a, b), ROLLUP (c)")
    assert grouped is not None and grouped.text() is None


def test_a_tree_that_duckdb_does_not_take_gives_no_text() -> None:
    found = tree.read("SELECT a FROM t")
    assert found is not None
    found.node["select_list"][0]["type"] = "NO_SUCH_TYPE"
    assert found.text() is None


@pytest.mark.parametrize(
    "deep", ["(" * 1000 + "1" + ")" * 1000, "-" + "(-" * 1000 + "1" + ")" * 1000, "f(" * 1000 + ")" * 1000]
)
def test_a_query_that_is_a_thousand_levels_deep_does_no_harm(deep: str) -> None:
    found = tree.read(f"SELECT {deep}")
    assert found is None or found.text() is not None


def test_a_tree_that_is_too_deep_to_walk_is_not_read() -> None:
    assert tree.read("SELECT " + " + ".join(["a"] * 1000) + " FROM t") is None
    assert tree.read("SELECT " + "(SELECT " * 300 + "1" + ")" * 300) is None


def test_a_long_query_is_not_deep() -> None:
    wide = tree.read("SELECT " + ", ".join(["a + 1"] * 3000) + " FROM t WHERE a IN (" + ", ".join(["1"] * 3000) + ")")
    assert wide is not None and wide.text() is not None


def test_trees_are_the_same_wherever_their_nodes_stand() -> None:
    text = "  SELECT  a , b\nFROM t"
    one, other, placed = tree.read("SELECT a,b FROM t"), tree.read(text), tree.read(text, with_places=True)
    assert one is not None and other is not None and placed is not None
    assert one.node == other.node
    assert one.node != placed.node and same(one.node, placed.node)


def test_the_places_of_nodes_are_kept_where_they_are_wanted() -> None:
    found = tree.read("SELECT größe, b FROM t", with_places=True)
    assert found is not None
    assert [item["query_location"] for item in found.node["select_list"]] == [7, 16]  # bytes, not characters


def test_a_text_that_looks_like_a_place_stays_as_it_is() -> None:
    text = """SELECT '{"query_location":7,"a":1}' AS "query_location"":7," """
    found = tree.read(text)
    assert found is not None and found.text() == text.strip()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("'a'", "a"),
        ("a", "b"),
        ("a", "t.a"),
        ("1", "1.0"),
        ("1", "'1'"),
        ("a = b", "b = a"),
        ("a ->> 'x.y'", "a ->> '$.x.y'"),
        ("list(a ORDER BY b)", "list(a ORDER BY b DESC)"),
        ("sum(DISTINCT a)", "sum(a)"),
        ("f(a := 1)", "f(b := 1)"),
        ("first(a IGNORE NULLS) OVER ()", "first(a) OVER ()"),
        ("* EXCLUDE (a)", "* EXCLUDE (b)"),
        ("a::INTEGER", "a::BIGINT"),
        ("NULL", "'NULL'"),
    ],
)
def test_expressions_that_mean_other_things_are_not_the_same(one: str, other: str) -> None:
    assert not same(expression(one), expression(other))
    assert same(expression(one), expression(one))


def node(text: str) -> Node:
    found = tree.read(text)
    assert found is not None
    return found.node


def test_a_copy_is_changed_alone() -> None:
    found = tree.read("SELECT a FROM t")
    assert found is not None
    found.copy().node["select_list"].clear()
    assert found.text() == "SELECT a FROM t"


def printed(node: Node) -> str:
    text = tree.expression_text(node)
    assert text is not None
    return text


def test_the_parts_of_an_expression_stand_for_their_columns() -> None:
    made = expression("a || upper(b) || t.a || (SELECT a)", a=expression("x + 1"), b=expression("'b'"))
    assert same(made, expression("(x + 1) || upper('b') || t.a || (SELECT x + 1)"))


def test_an_expression_may_be_a_part_alone() -> None:
    part = expression("f(x)")
    made = expression("a", a=part)
    assert same(made, part) and made is not part


def test_an_expression_is_new_each_time() -> None:
    made = expression("a + b", a=expression("x"))
    made["children" if "children" in made else "arguments"].clear()
    assert same(expression("a + b"), expression("a + b")) and printed(expression("a + b")) == "(a + b)"


def test_an_expression_is_printed_without_its_name() -> None:
    assert printed({**expression("a + 1"), "alias": "n"}) == "(a + 1)"


def test_places_are_those_of_all_nodes_the_outer_ones_first() -> None:
    found = expression("CASE WHEN a THEN f(b) END")
    listed = [(place.node["type"], len(place.above)) for place in places({"root": found})]
    assert listed[0] == ("CASE_EXPR", 0)
    assert {kind for kind, _ in listed} == {"CASE_EXPR", "COLUMN_REF", "FUNCTION", "VALUE_CONSTANT"}
    assert [depth for kind, depth in listed if kind == "COLUMN_REF"] == [1, 2]


def test_subqueries_are_walked_only_where_that_is_wanted() -> None:
    found = expression("a + (SELECT b FROM u)")
    walked = {wanted: [n["type"] for n in nodes({"root": found}, into_queries=wanted)] for wanted in (True, False)}
    assert "BASE_TABLE" in walked[True] and "BASE_TABLE" not in walked[False]
    assert walked[True].count("COLUMN_REF") == 2 and walked[False].count("COLUMN_REF") == 1


def test_every_part_of_a_query_is_walked() -> None:
    text = (
        "WITH c AS (SELECT p1) SELECT p2 FROM (SELECT p3) AS s JOIN t ON p4 WHERE p5 GROUP BY p6 HAVING p7 "
        "QUALIFY p8 ORDER BY p9, (SELECT p10) LIMIT (SELECT p11)"
    )
    found = tree.read(text)
    assert found is not None
    columns = {node["column_names"][0] for node in nodes(found.node) if node["type"] == "COLUMN_REF"}
    assert columns == {f"p{number}" for number in range(1, 12)}


def test_what_replaces_a_node_is_not_walked() -> None:
    holder = {"root": expression("f(a)")}
    for place in places(holder):
        if place.node["type"] == "COLUMN_REF":
            place.replace(expression("g(a)"))
    assert same(holder["root"], expression("f(g(a))"))


def test_children_are_made_anew_and_the_node_stays() -> None:
    node = expression("CASE WHEN a THEN f(b, c) ELSE d END")
    before = deepcopy(node)
    made = tree.with_children(node, lambda child: expression("x") if child["type"] == "COLUMN_REF" else child)
    assert same(made, expression("CASE WHEN x THEN f(b, c) ELSE x END"))
    assert node == before


def test_conditions_of_one_kind_are_joined_flat() -> None:
    made = tree.conjunction([expression("a AND b"), expression("c OR d"), expression("e")])
    assert len(made["children"]) == 4 and same(made, expression("a AND b AND (c OR d) AND e"))
    assert same(tree.either([expression("a OR b"), expression("c AND d")]), expression("a OR b OR (c AND d)"))
    assert same(tree.conjunction([expression("a")]), expression("a"))


def test_nodes_that_are_made_are_those_that_duckdb_makes() -> None:
    a, b = expression("a"), expression("b")
    assert same(tree.column("t", "a"), expression("t.a"))
    assert same(tree.negated(a), expression("NOT a"))
    assert same(tree.is_null(a), expression("a IS NULL"))
    assert same(tree.case([(a, b)]), expression("CASE WHEN a THEN b END"))
    assert same(tree.case([(a, b)], a), expression("CASE WHEN a THEN b ELSE a END"))
    assert same(tree.aliased(a, "n"), expression("a AS n")) and same(tree.unaliased(tree.aliased(a, "n")), a)
    assert same(tree.select([a], tree.table("s", "t")), node("SELECT a FROM s.t"))
    inner = node("SELECT 1")
    assert same(tree.select([a], tree.subquery_table(inner, "q")), node("SELECT a FROM (SELECT 1) AS q"))
    assert same(tree.select([a], tree.subquery_table(inner, "q", ["a"])), node("SELECT a FROM (SELECT 1) AS q(a)"))
    assert same(tree.ascending(a), node("SELECT 1 ORDER BY a ASC")["modifiers"][0])


def test_the_rows_that_a_select_reads_are_all_of_its_tables() -> None:
    found = node("WITH w AS (SELECT 1 AS a) SELECT DISTINCT max(a) FROM w WHERE a > 1 GROUP BY ALL HAVING true LIMIT 5")
    made = tree.selected(found, [expression("b")])
    assert same(made, node("WITH w AS (SELECT 1 AS a) SELECT b FROM w"))


def test_what_is_made_is_new_each_time() -> None:
    tree.select([expression("a")], tree.table("s", "t"))["modifiers"].append(tree.ascending(expression("a")))
    assert same(tree.select([expression("a")], tree.table("s", "u")), node("SELECT a FROM s.u"))


def test_modifiers_are_found_by_kind() -> None:
    found = tree.read("SELECT DISTINCT a FROM t ORDER BY a LIMIT 5")
    assert found is not None
    kinds = {kind: tree.modifier(found.node, kind) for kind in ("DISTINCT", "ORDER", "LIMIT")}
    assert all(kinds.values())
    assert tree.modifier(node("SELECT a FROM t"), "ORDER") is None


@pytest.mark.parametrize(
    ("text", "number"), [("3", 3), ("0", 0), ("-3", None), ("3.0", None), ("'3'", None), ("a", None)]
)
def test_a_number_that_stands_as_it_is_is_known(text: str, number: int | None) -> None:
    assert tree.integer_of(expression(text)) == number
    assert tree.integer_of(None) is None


@pytest.mark.parametrize(
    ("text", "name"), [('a AS "B"', "b"), ("t.A", "a"), ("s.a AS b", "b"), ("a + 1", ""), ("*", "")]
)
def test_a_select_item_has_the_name_that_others_read_it_by(text: str, name: str) -> None:
    assert tree.name_of_item(expression(text)) == name


@pytest.mark.parametrize(
    ("text", "aggregate", "scalar"),
    [
        ("max(a)", True, False),
        ("STRING_AGG(a, ',')", True, False),
        ("upper(a)", False, True),
        ("a + 1", False, True),
        ("a || b", False, True),
        ("if(a, b, c)", False, True),
        ("nullif(a, '')", False, True),
        ("split_part(a, ',', 1)", False, True),
        ("list_sum(a)", False, True),
        ("geomean(a)", False, False),
        ("whatever(a)", False, False),
        ("a", False, False),
        ("max(a) OVER ()", False, False),
    ],
)
def test_functions_of_duckdb_are_known_by_their_kind(text: str, aggregate: bool, scalar: bool) -> None:
    node = expression(text)
    assert (is_aggregate(node), is_scalar(node)) == (aggregate, scalar)


def test_texts_are_read_in_any_thread() -> None:
    texts: list[str | None] = []

    def read() -> None:
        for number in range(20):
            found = tree.read(f"SELECT {number}")
            texts.append(None if found is None else found.text())

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, texts)) == sorted([f"SELECT {number}" for number in range(20)] * 4)
