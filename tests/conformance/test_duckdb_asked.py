"""What a statement asks is what its result needs: no request more, at any number of threads, from any source.

Needed is counted by brute force: plain DuckDB runs the statement with a function that gives the prompt itself.
`AIQ_LONG` runs every case at 1, 2 and 8 threads and over 600,000 rows too; without it each case runs once.
"""

from __future__ import annotations

import os
import re
from ast import literal_eval
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
import pyarrow as pa
import pytest

from tests.conformance.side_by_side import Outcome, Pair, answer_to, open_pair

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

THREADS = (1, 2, 8)
LONG = "AIQ_LONG" in os.environ
ENOUGH = 10_000
"""More requests than any case needs: there a statement that asks too much is stopped."""

ROWS = {"products": 20_000, "many": 600_000}

PRODUCTS = """
CREATE OR REPLACE TABLE {table} AS
SELECT i AS id, 'thing ' || (i * 7919 % {rows}) AS name, (i * 104729 % {rows}) / 8.0::DOUBLE AS price,
       floor(sqrt(i / ({rows} / 400)))::INTEGER AS cat, i % 97 AS grp, (i % 1000) / 7.0::DOUBLE AS v,
       CASE WHEN i % 5 > 0 THEN 'note ' || i END AS note, 'about ' || i AS descr
FROM range({rows}) AS r(i)
"""
"""`name`, `price`, `descr` are of one row each; the 20 values of `cat` have counts that all differ."""

REVIEWS = """
CREATE OR REPLACE TABLE reviews AS
SELECT i AS id, 'review ' || i AS body, i % 5 AS stars FROM range(0, 30000, 3) AS r(i);
CREATE OR REPLACE VIEW cheap AS SELECT id, name, descr, price FROM products WHERE price < 2000;
CREATE OR REPLACE TABLE written (id BIGINT, answer VARCHAR)
"""


class Case(NamedTuple):
    """A statement with calls named `answer..`.

    `needed`: how many requests, where the result does not show the prompts (None: it does). `after`: reads what was
    written. `full`: the statement whose rows DuckDB may choose from. `seen`: its column `prompt` tells the prompt, and
    no two runs need give the same, because sums of DOUBLE depend on the order of threads.
    """

    sql: str
    needed: int | None = None
    after: str = ""
    full: str = ""
    seen: bool = False


TOP = "SELECT id, ai_query('chat', descr) AS answer FROM {p} ORDER BY %s"
LIMITED = {
    "5": "price LIMIT 5",
    "50": "price LIMIT 50",
    "51": "price LIMIT 51",
    "1000": "price DESC LIMIT 1000",
    "offset": "price LIMIT 5 OFFSET 3",
    "offset of 900": "price LIMIT 100 OFFSET 900",
    "limit of an expression": "price LIMIT 2 + 60",
    "limit of a subquery": "price LIMIT (SELECT 60)",
    "percent": "price LIMIT 1%",
    "several keys": "cat DESC, price LIMIT 60",
    "an expression": "abs(price - 1000), id LIMIT 60",
    "a text": "lower(name) LIMIT 60",
    "nulls first": "note DESC NULLS FIRST, id LIMIT 60",
    "nulls last": "note NULLS LAST LIMIT 60",
    "collate": "name COLLATE NOCASE DESC LIMIT 60",
    "ordinal": "1 DESC LIMIT 60",
    "the row's number": "rowid DESC LIMIT 60",
    "a condition": "CASE WHEN cat = 3 THEN 0 ELSE 1 END, price LIMIT 60",
    "zero": "price LIMIT 0",
}
DESCRIBED = "ai_query('chat', 'Describe ' || name) AS answer"
ANSWERED = f"(SELECT id, price, {DESCRIBED} FROM {{p}}) AS d"
FIRST = "ORDER BY price LIMIT 60"
PAIRED = "SELECT p.id, r.stars, ai_query('chat', r.body) AS answer FROM {p} AS p "
MEAN = "SELECT cat, cat || ': ' || %s AS prompt, ai_query('chat', cat || ': ' || %s) AS answer FROM {p} GROUP BY cat"

CASES: dict[str, Case] = {f"order by: {name}": Case(TOP % order) for name, order in LIMITED.items()} | {
    # What is selected, and where from.
    "prompt of the key": Case(f"SELECT name, {DESCRIBED} FROM {{p}} ORDER BY name LIMIT 5"),
    "prompt of the key, 60": Case(f"SELECT name, {DESCRIBED} FROM {{p}} ORDER BY name DESC LIMIT 60"),
    "only the call": Case(f"SELECT {DESCRIBED} FROM {{p}} ORDER BY price LIMIT 60"),
    "alias as the key": Case(f"SELECT price * 2 AS twice, {DESCRIBED} FROM {{p}} ORDER BY twice DESC LIMIT 60"),
    "star": Case(f"SELECT *, {DESCRIBED} FROM {{p}} ORDER BY price LIMIT 60"),
    "table's star": Case(f"SELECT p.*, {DESCRIBED} FROM {{p}} AS p ORDER BY price LIMIT 60"),
    "exclude": Case(f"SELECT * EXCLUDE (descr, v), {DESCRIBED} FROM {{p}} ORDER BY price LIMIT 60"),
    "replace": Case(f"SELECT * REPLACE (v * 2 AS v), {DESCRIBED} FROM {{p}} ORDER BY price LIMIT 60"),
    "replaced by a call": Case(
        "SELECT * REPLACE (ai_query('chat', descr) AS descr) FROM {p} ORDER BY price LIMIT 60", 60
    ),
    "replaced by a call that sorts, beside another": Case(
        "SELECT p.* REPLACE (ai_query('chat', grp::VARCHAR) AS name), ai_query('chat', descr) AS answer FROM {p} AS p "
        "ORDER BY name, id LIMIT 60",
        97 + 60,
    ),
    "sorted by a call that has its request's name": Case(
        "SELECT id, ai_query('chat', note[:6]) AS note, ai_query('chat', descr) AS answer FROM {p} "
        "ORDER BY note COLLATE NOCASE, id LIMIT 60",
        9 + 60,
    ),
    "from first": Case(f"FROM {{p}} SELECT id, {DESCRIBED} ORDER BY price LIMIT 60"),
    "where": Case(f"SELECT id, {DESCRIBED} FROM {{p}} WHERE cat > 3 AND note IS NOT NULL ORDER BY price LIMIT 60"),
    "two calls": Case(f"SELECT {DESCRIBED}, ai_query('chat', descr) AS answer2 FROM {{p}} ORDER BY price LIMIT 60"),
    "the same call twice": Case(f"SELECT {DESCRIBED}, {DESCRIBED}2 FROM {{p}} ORDER BY price LIMIT 60"),
    "a call in a call": Case(
        "SELECT id, ai_query('chat', descr || ai_query('chat', name)) AS answer FROM {p} ORDER BY price LIMIT 60", 120
    ),
    "a call in an expression": Case(f"SELECT id, upper({DESCRIBED[:-10]}) AS x FROM {{p}} ORDER BY price LIMIT 60", 60),
    "coalesce": Case("SELECT coalesce(note, ai_query('chat', descr)) AS x FROM {p} ORDER BY id LIMIT 60", 12),
    "case": Case(f"SELECT CASE WHEN grp = 1 THEN {DESCRIBED[:-10]} END AS answer FROM {{p}} ORDER BY id LIMIT 970", 10),
    "typed": Case(
        "SELECT id, ai_query('chat', descr, failOnError => false).result AS answer FROM {p} ORDER BY price LIMIT 60"
    ),
    "typed by name": Case(
        "SELECT ai_query('chat', descr, returnType => 'STRING') AS answer FROM {p} ORDER BY price LIMIT 60"
    ),
    "cte": Case(
        f"WITH c AS (SELECT id, {DESCRIBED}, price FROM {{p}}) SELECT id, answer FROM c ORDER BY price LIMIT 60"
    ),
    "cte with the limit": Case(f"WITH c AS (SELECT id, {DESCRIBED} FROM {{p}} ORDER BY price LIMIT 60) FROM c"),
    "call over a cte": Case(f"WITH c AS (FROM {{p}} WHERE cat > 2) SELECT {DESCRIBED} FROM c ORDER BY price LIMIT 60"),
    "view": Case("SELECT id, ai_query('chat', descr) AS answer FROM cheap ORDER BY price DESC LIMIT 60"),
    "derived": Case(f"SELECT * FROM (SELECT id, {DESCRIBED} FROM {{p}} ORDER BY price LIMIT 60) AS d"),
    "limit over derived": Case(
        f"SELECT answer FROM (SELECT price, {DESCRIBED} FROM {{p}}) AS d ORDER BY price LIMIT 60"
    ),
    "limit over derived without a name": Case(
        f"SELECT * EXCLUDE (price) FROM (SELECT id, price, {DESCRIBED} FROM {{p}}) ORDER BY price LIMIT 60"
    ),
    "nested derived": Case(
        f"SELECT answer FROM (SELECT * FROM (SELECT price, {DESCRIBED} FROM {{p}}) AS d WHERE price > 9) AS e "
        "ORDER BY price LIMIT 60"
    ),
    "call over derived": Case(
        f"SELECT {DESCRIBED} FROM (SELECT name, price FROM {{p}} ORDER BY price LIMIT 100) AS d ORDER BY name LIMIT 60"
    ),
    "inner join": Case(PAIRED + "JOIN reviews AS r ON r.id = p.id ORDER BY p.price LIMIT 60"),
    "left join": Case(PAIRED + "LEFT JOIN reviews AS r ON r.id = p.id ORDER BY p.price LIMIT 60"),
    "using": Case(
        "SELECT id, ai_query('chat', body) AS answer FROM {p} JOIN reviews USING (id) ORDER BY price LIMIT 60"
    ),
    "natural": Case("SELECT ai_query('chat', body) AS answer FROM {p} NATURAL JOIN reviews ORDER BY price LIMIT 60"),
    "cross join": Case(
        "SELECT ai_query('chat', descr || x) AS answer FROM {p}, range(2) AS r(x) ORDER BY price, x LIMIT 61"
    ),
    "answers of a natural join": Case(f"SELECT id, answer FROM {ANSWERED} NATURAL JOIN reviews {FIRST}"),
    "answers of an asof join": Case(f"SELECT id, answer FROM {ANSWERED} ASOF JOIN reviews USING (id) {FIRST}"),
    "answers of an asof join, on the right": Case(
        "SELECT p.id, answer FROM {p} AS p ASOF JOIN (SELECT id, ai_query('chat', body) AS answer FROM reviews) AS r "
        f"ON p.id >= r.id {FIRST}"
    ),
    "answers of a full join": Case(
        f"SELECT d.id, answer FROM {ANSWERED} FULL JOIN reviews AS r ON r.id = d.id {FIRST}"
    ),
    "answers of the right of a left join": Case(
        "SELECT p.id, answer FROM {p} AS p LEFT JOIN (SELECT id, ai_query('chat', body) AS answer FROM reviews) AS r "
        f"ON p.id = r.id {FIRST}"
    ),
    "answers of a positional join": Case(f"SELECT d.id, answer FROM {ANSWERED} POSITIONAL JOIN reviews {FIRST}"),
    "lateral": Case("SELECT id, answer FROM {p} AS p, LATERAL (SELECT ai_query('chat', p.descr) AS answer) " + FIRST),
    "lateral over a full join": Case(
        "SELECT p.id, answer FROM {p} AS p FULL JOIN reviews AS r ON r.id = p.id, "
        f"LATERAL (SELECT ai_query('chat', p.descr) AS answer) {FIRST}"
    ),
    "star of a join": Case(f"SELECT *, {DESCRIBED} FROM {{p}} JOIN reviews USING (id) ORDER BY price LIMIT 60"),
    "semi join": Case(f"SELECT {DESCRIBED} FROM {{p}} SEMI JOIN reviews USING (id) ORDER BY price LIMIT 60"),
    "filtered by another call, derived": Case(
        "SELECT id, answer FROM (SELECT id, grp, ai_query('chat', descr) AS answer FROM {p} WHERE id < 500) AS d "
        "WHERE ai_query('chat', 'grp ' || grp) = 'yes'",
        needed=97 + sum(answer_to(f"grp {n % 97}") == "yes" for n in range(500)),
    ),
    "ordered by another call": Case(
        f"SELECT id, {DESCRIBED} FROM {{p}} ORDER BY ai_query('chat', 'grp ' || grp), price LIMIT 60", 97 + 60
    ),
    "ordered by another call, by its name": Case(
        f"SELECT ai_query('chat', 'grp ' || grp) AS x, {DESCRIBED} FROM {{p}} ORDER BY x DESC, price LIMIT 60", 97 + 60
    ),
    "ordered by another call, derived": Case(
        f"SELECT * EXCLUDE (v) FROM (SELECT *, {DESCRIBED} FROM {{p}}) AS d "
        "ORDER BY ai_query('chat', 'grp ' || grp), price LIMIT 60",
        97 + 60,
    ),
    "star of a derived table, replaced": Case(
        f"SELECT d.* EXCLUDE (v) REPLACE (upper(name) AS name) FROM (SELECT *, {DESCRIBED} FROM {{p}}) AS d "
        "ORDER BY price LIMIT 60"
    ),
    "range": Case(
        "SELECT ai_query('chat', 'n ' || i) AS answer FROM range(20000) AS r(i) ORDER BY i * 7 % 20011 LIMIT 60"
    ),
    "pandas": Case(f"SELECT id, {DESCRIBED} FROM of_pandas ORDER BY price LIMIT 60"),
    "arrow": Case(f"SELECT id, {DESCRIBED} FROM of_arrow ORDER BY price LIMIT 60"),
    "parquet": Case(f"SELECT id, {DESCRIBED} FROM '{{folder}}/p.parquet' ORDER BY price LIMIT 60"),
    "csv": Case(f"SELECT id, {DESCRIBED} FROM '{{folder}}/p.csv' ORDER BY price LIMIT 60"),
    "json": Case(f"SELECT id, {DESCRIBED} FROM read_json('{{folder}}/p.json') ORDER BY price LIMIT 60"),
    # Groups, windows, distinct rows.
    "groups by count": Case(
        "SELECT cat, ai_query('chat', 'cat ' || cat) AS answer FROM {p} GROUP BY cat ORDER BY count(*) DESC LIMIT 2"
    ),
    "groups by max": Case(
        "SELECT ai_query('chat', 'max ' || max(price)) AS answer FROM {p} GROUP BY cat ORDER BY min(id) LIMIT 3"
    ),
    "group by all": Case(
        "SELECT cat, ai_query('chat', 'n ' || count(*)) AS answer FROM {p} GROUP BY ALL ORDER BY cat LIMIT 3"
    ),
    "groups by number, limit": Case(
        "SELECT 'cat ' || cat, ai_query('chat', 'cat ' || cat) AS answer FROM {p} GROUP BY 1 ORDER BY 1 LIMIT 2"
    ),
    "groups by a name of the list, limit": Case(
        "SELECT ai_query('chat', 'cat ' || cat) AS answer, 'cat ' || cat AS c FROM {p} GROUP BY c ORDER BY c LIMIT 2"
    ),
    "having": Case("SELECT cat FROM {p} GROUP BY cat HAVING ai_query('chat', 'n ' || count(*)) <> 'no'", 20),
    "having over avg": Case(
        "SELECT cat, count(*) FROM {p} GROUP BY cat HAVING ai_query('chat', cat || ': ' || avg(v)) <> '-'", 20
    ),
    "avg": Case(MEAN % ("avg(v)", "avg(v)"), 20, seen=True),
    "sum of double": Case(MEAN % ("sum(v)", "sum(v)"), 20, seen=True),
    "string_agg": Case(MEAN % (("md5(string_agg(descr, ','))",) * 2), 20, seen=True),
    "any_value": Case(MEAN % ("any_value(note)", "any_value(note)"), 20, seen=True),
    "first": Case(MEAN % ("first(descr)", "first(descr)"), 20, seen=True),
    "approx_quantile": Case(MEAN % (("approx_quantile(v, 0.5)",) * 2), 20, seen=True),
    "list": Case(MEAN % ("md5(list(id)::VARCHAR)", "md5(list(id)::VARCHAR)"), 20, seen=True),
    "mode": Case(MEAN % ("mode(grp)", "mode(grp)"), 20, seen=True),
    "stddev": Case(MEAN % ("stddev(v)", "stddev(v)"), 20, seen=True),
    "avg of all": Case(
        "SELECT 'of ' || avg(v) AS prompt, ai_query('chat', 'of ' || avg(v)) AS answer FROM {p}", 1, seen=True
    ),
    "groups by avg": Case(MEAN % ("avg(v)", "avg(v)") + " ORDER BY sum(id) LIMIT 3", 3, seen=True),
    "row_number beside": Case(
        f"SELECT row_number() OVER (ORDER BY price) AS n, {DESCRIBED} FROM {{p}} ORDER BY n LIMIT 60"
    ),
    "lag beside": Case(f"SELECT lag(id) OVER (ORDER BY price) AS l, {DESCRIBED} FROM {{p}} ORDER BY price LIMIT 60"),
    "lag in the prompt": Case(
        "SELECT ai_query('chat', 'l ' || lag(id, 1, 0) OVER (ORDER BY price)) AS answer FROM {p} "
        "ORDER BY price LIMIT 60"
    ),
    "sum over beside": Case(
        f"SELECT sum(id) OVER (PARTITION BY cat) AS n, {DESCRIBED} FROM {{p}} ORDER BY price LIMIT 60"
    ),
    "qualify": Case(
        f"SELECT cat, {DESCRIBED} FROM {{p}} QUALIFY row_number() OVER (PARTITION BY cat ORDER BY price) = 1"
    ),
    "qualify, limit": Case(
        f"SELECT {DESCRIBED} FROM {{p}} QUALIFY row_number() OVER (PARTITION BY grp ORDER BY id) = 1 "
        "ORDER BY price LIMIT 60"
    ),
    "distinct on": Case(f"SELECT DISTINCT ON (cat) cat, {DESCRIBED} FROM {{p}} ORDER BY cat, price"),
    "distinct on, limit": Case(f"SELECT DISTINCT ON (grp) grp, {DESCRIBED} FROM {{p}} ORDER BY grp, price LIMIT 60"),
    "distinct prompts": Case("SELECT id, ai_query('chat', 'grp ' || grp) AS answer FROM {p} WHERE cat > 3", 97),
    # Sets, subqueries, limits without an order.
    "union all, ordered": Case(
        "SELECT id, 1 AS source, ai_query('chat', descr) AS answer FROM {p} UNION ALL "
        "SELECT id, 2, ai_query('chat', body) AS answer FROM reviews ORDER BY id, source LIMIT 60"
    ),
    "union all, limit": Case(
        "SELECT id, ai_query('chat', descr) AS answer FROM {p} UNION ALL "
        "SELECT id, ai_query('chat', body) AS answer FROM reviews LIMIT 60",
        needed=60,
        full="SELECT id, ai_query('chat', descr) AS answer FROM {p} UNION ALL "
        "SELECT id, ai_query('chat', body) AS answer FROM reviews",
    ),
    "limit alone": Case(
        "SELECT id, ai_query('chat', descr) AS answer FROM {p} LIMIT 60",
        60,
        full="SELECT id, ai_query('chat', descr) AS answer FROM {p}",
    ),
    "exists": Case(
        "SELECT id FROM reviews WHERE EXISTS (SELECT ai_query('chat', descr) FROM {p} WHERE {p}.id = reviews.id)", 0
    ),
    "not exists": Case(
        "SELECT id FROM reviews WHERE NOT EXISTS (SELECT ai_query('chat', descr) FROM {p} WHERE id = stars)", 0
    ),
    "count of derived": Case(f"SELECT count(*) FROM (SELECT id, {DESCRIBED} FROM {{p}}) AS d", 0),
    "unread column": Case(f"SELECT id FROM (SELECT id, {DESCRIBED} FROM {{p}}) AS d", 0),
    "in": Case(
        f"SELECT {DESCRIBED} FROM {{p}} WHERE id IN (SELECT id FROM reviews WHERE stars = 2) ORDER BY price LIMIT 60"
    ),
    "in, of answers over a join": Case(
        f"SELECT id, answer FROM (SELECT id, {DESCRIBED} FROM {{p}} ANTI JOIN reviews USING (id) WHERE id < 200) AS d "
        "WHERE answer IN (SELECT max(ai_query('chat', 'stars ' || stars)) FROM reviews GROUP BY stars)",
        133 + 5,
    ),
    "scalar subquery": Case(
        f"SELECT (SELECT max(stars) FROM reviews) AS m, {DESCRIBED} FROM {{p}} ORDER BY price LIMIT 60"
    ),
    # What is written.
    "create table as": Case("CREATE OR REPLACE TABLE made AS " + TOP % "price LIMIT 60", after="FROM made"),
    "create table as, groups": Case(
        f"CREATE OR REPLACE TABLE made AS {MEAN % ('avg(v)', 'avg(v)')}", 20, after="FROM made", seen=True
    ),
    "insert": Case("INSERT INTO written " + TOP % "price LIMIT 60", after="FROM written"),
    "insert of the key": Case(
        "INSERT INTO written BY NAME SELECT ai_query('chat', name) AS answer FROM {p} ORDER BY name LIMIT 60",
        after="FROM written",
    ),
    "copy": Case(f"COPY ({TOP % 'price LIMIT 60'}) TO '{{folder}}/{{out}}.csv'", after="FROM '{folder}/{out}.csv'"),
    "copy of groups": Case(
        f"COPY ({MEAN % ('avg(v)', 'avg(v)')}) TO '{{folder}}/{{out}}.csv'", 20, "FROM '{folder}/{out}.csv'", seen=True
    ),
}

OF_MANY = [
    name for name, case in CASES.items() if "{p}" in case.sql and ("order by" in name or case.seen or "join" in name)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("asked")


@pytest.fixture(scope="module")
def pair(folder: Path, make_conf: Callable[[Path, str], ConfFolder]) -> Iterator[Pair]:
    with open_pair(folder, make_conf, keeps_answers=False) as made:
        made.transport.most = ENOUGH
        for table, rows in ROWS.items():
            made.both(PRODUCTS.format(table=table, rows=rows))
        made.both(REVIEWS)
        made.plain.execute("CREATE MACRO shown(endpoint, prompt) AS prompt")
        for ending in ("parquet", "csv", "json"):
            made.plain.execute(f"COPY products TO '{folder}/p.{ending}'")
        rows = made.plain.sql("SELECT id, name, price FROM products").to_arrow_table()
        for con in (made.plain, made.session.con):
            con.register("of_arrow", rows)
            con.register("of_pandas", rows.to_pandas())
        yield made


def _runs() -> Iterator[object]:
    for number, name in enumerate(CASES):
        for threads in THREADS if LONG else (THREADS[number % 3],):
            yield pytest.param(name, "products", threads, id=f"{name}-{threads}")
    for number, name in enumerate(OF_MANY):
        for threads in THREADS if LONG else (8,) if number % 6 == 0 else ():
            yield pytest.param(name, "many", threads, id=f"{name}-of many-{threads}")


@pytest.mark.parametrize(("name", "table", "threads"), list(_runs()))
def test_a_statement_asks_what_its_result_needs(pair: Pair, folder: Path, name: str, table: str, threads: int) -> None:
    case = CASES[name]
    pair.both(f"SET threads = {threads}; DELETE FROM written; DROP TABLE IF EXISTS made")

    def text(sql: str, out: str) -> str:
        return sql.replace("{p}", table).replace("{folder}", str(folder)).replace("{out}", f"{out} {name} {threads}")

    found = pair.of_session(text(case.sql, "ours"))
    asked = list(pair.asked)
    assert not found.error or len(asked) <= ENOUGH, f"asked more than {ENOUGH}"
    assert not found.error, found.error
    for_plain = re.sub(r", (failOnError => false\)\.result|returnType => 'STRING'\))", ")", case.sql)
    expected = pair.of_plain(text(case.full or for_plain, "plain"))
    assert not expected.error, expected.error
    if case.after:
        found, _ = pair.contents(text(case.after, "ours"))
        _, expected = pair.contents(text(case.after, "plain"))
    _compare(case, found, expected)
    needed = (
        case.needed
        if case.needed is not None
        else _shown(pair, case, text(for_plain, "shown"), text(case.after, "shown"))
    )
    assert len(set(asked)) == len(asked), "a request was made twice"
    assert len(asked) == needed


def _compare(case: Case, found: Outcome, expected: Outcome) -> None:
    assert (found.columns, found.types) == (expected.columns, expected.types)
    if case.full:
        assert set(found.rows) <= set(expected.rows)
    elif case.seen:
        place, prompt = found.columns.index("answer"), found.columns.index("prompt")
        rows = [literal_eval(row) for row in found.rows]
        assert [row[place] for row in rows] == [answer_to(row[prompt]) for row in rows]
        assert len(rows) == len(expected.rows)
    elif "ORDER BY" in case.sql.rpartition(")")[2] and not case.after:
        assert found.rows == expected.rows
    else:
        assert found.unordered() == expected.unordered()


def _shown(pair: Pair, case: Case, sql: str, after: str) -> int:
    """The distinct prompts behind the answers of a result."""
    pair.plain.execute("DELETE FROM written")
    relation = pair.plain.sql(sql.replace("ai_query(", "shown("))
    if after:
        relation = pair.plain.sql(after)
    answers = [number for number, column in enumerate(relation.columns) if column.startswith("answer")]
    assert answers, "the case has no column answer: count by hand"
    return len({row[number] for row in relation.fetchall() for number in answers} - {None})


def test_variables_of_python_are_asked_for_the_rows_that_are_shown(pair: Pair) -> None:
    of_python = pd.DataFrame({"id": range(20_000), "name": [f"frame {n}" for n in range(20_000)]})
    of_arrow_here = pa.table({"id": range(20_000), "name": [f"arrow {n}" for n in range(20_000)]})
    for name, frame in (("of_python", of_python), ("of_arrow_here", of_arrow_here)):
        pair.asked.clear()
        result = pair.session.sql(f"SELECT ai_query('chat', name) AS answer FROM {name} ORDER BY id DESC LIMIT 60")
        assert result is not None and len(result.fetchall()) == 60
        assert len(pair.asked) == 60, type(frame)
