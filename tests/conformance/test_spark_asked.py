"""What `session.sql` on Spark asks, counted: plain Spark's rows, and no request that the result does not need.

The oracle is a session of the same Spark that knows nothing of us. `needed` is brute force: a query of that session
that gives the requests which the result is made of.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from pyspark.errors import AnalysisException
from pyspark.sql import functions as F

from aiq.errors import StatementError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.conformance.conftest import Engine

ENGINES = ("spark",)
ROWS = 18


class Form(NamedTuple):
    """A statement and the query of the requests that it needs."""

    statement: str
    needed: str
    often: bool = False
    """Whether it runs each time, and not with AIQ_SPARK_ALL only."""


FORMS = {
    "order by a key with NULLs": Form(
        "SELECT id, ai_query('chat', p) AS a FROM t ORDER BY price DESC NULLS LAST, id LIMIT 4",
        "SELECT p FROM t ORDER BY price DESC NULLS LAST, id LIMIT 4",
    ),
    "order by an expression, with an offset": Form(
        "SELECT *, ai_query('chat', p) FROM t ORDER BY abs(id - 9), id LIMIT 4 OFFSET 2",
        "SELECT p FROM t ORDER BY abs(id - 9), id LIMIT 4 OFFSET 2",
    ),
    "order by over a join": Form(
        "SELECT id, k, ai_query('chat', p || q) AS a FROM t JOIN u ON id = k ORDER BY id DESC LIMIT 3",
        "SELECT p || q FROM t JOIN u ON id = k ORDER BY id DESC LIMIT 3",
    ),
    "a common table read twice": Form(
        "WITH c AS (SELECT id, g, ai_query('chat', p) AS a FROM t) "
        "SELECT x.id, y.a FROM c AS x JOIN c AS y ON x.id = y.id WHERE x.g = 1",
        "SELECT p FROM t WHERE g = 1",
    ),
    "groups with a limit": Form(
        "SELECT w, count(*) AS n, ai_query('chat', w) AS a FROM t GROUP BY w ORDER BY sum(price) DESC, w LIMIT 2",
        "SELECT w FROM t GROUP BY w ORDER BY sum(price) DESC, w LIMIT 2",
    ),
    "the first of each window": Form(
        "SELECT id, a FROM (SELECT id, ai_query('chat', p) AS a, row_number() OVER (PARTITION BY g ORDER BY id) AS r "
        "FROM t) AS d WHERE r = 1",
        "SELECT p FROM t WHERE id < 4",
    ),
    "a union with a limit": Form(
        "SELECT id, ai_query('chat', p) AS a FROM t UNION ALL SELECT k + 100, upper(ai_query('chat', 'is ' || q)) "
        "FROM u ORDER BY id % 100, id LIMIT 5",
        "SELECT p FROM t WHERE id < 3 UNION ALL SELECT 'is ' || q FROM u WHERE k < 3",
        often=True,
    ),
    "a union of columns, calls and conditions": Form(
        "SELECT id, w AS a, ai_query('chat', w) AS b FROM t WHERE id < 3 "
        "UNION ALL SELECT k, ai_query('chat', ai_query('chat', q)), 'x' FROM u WHERE ai_query('chat', q) <> 'none' "
        "ORDER BY id DESC, a LIMIT 2",
        "SELECT q FROM u UNION ALL (SELECT ai_query('chat', q) FROM u ORDER BY k DESC LIMIT 2)",
        often=True,
    ),
    "a union without an order": Form(
        "SELECT count(*) AS n FROM (SELECT * FROM (SELECT ai_query('chat', p) AS a FROM t "
        "UNION ALL SELECT ai_query('chat', q) FROM u) AS d WHERE a <> 'none' LIMIT 40) AS e",
        "SELECT p FROM t UNION ALL SELECT q FROM u",
    ),
    "a condition on answers before another one": Form(
        "SELECT id FROM t WHERE ai_query('chat', upper(p)) <> 'no' AND ai_query('chat', p) = 'yes'",
        "SELECT p FROM t UNION ALL SELECT upper(p) FROM t WHERE ai_query('chat', p) = 'yes'",
        often=True,
    ),
    "conditions on answers, and answers shown": Form(
        "SELECT id, ai_query('chat', w) AS a FROM t WHERE (ai_query('chat', p) = 'yes' OR g = 1) AND id > 2 "
        "ORDER BY id LIMIT 3",
        "SELECT p FROM t WHERE g <> 1 AND id > 2 "
        "UNION ALL (SELECT w FROM t WHERE (ai_query('chat', p) = 'yes' OR g = 1) AND id > 2 ORDER BY id LIMIT 3)",
    ),
    "EXISTS over answers, of few rows": Form(
        "SELECT id FROM t WHERE id < 5 AND EXISTS (SELECT 1 FROM u WHERE k = id AND ai_query('chat', q) <> 'none')",
        "SELECT q FROM u WHERE k < 5",
        often=True,
    ),
    "NOT EXISTS over answers, of few rows": Form(
        "SELECT id FROM t WHERE id < 5 AND NOT EXISTS (SELECT 1 FROM u WHERE k = id AND ai_query('chat', q) = 'yes')",
        "SELECT q FROM u WHERE k < 5",
    ),
    "IN and EXISTS without answers": Form(
        "SELECT id, ai_query('chat', p) AS a FROM t WHERE id IN (SELECT k FROM u) OR g = 1",
        "SELECT p FROM t WHERE id IN (SELECT k FROM u) OR g = 1",
    ),
    "an outer join with answers on its far side": Form(
        "SELECT id, k, ai_query('chat', 'is ' || q) AS a FROM t LEFT JOIN u ON id = k AND h = 0 ORDER BY id",
        "SELECT 'is ' || q FROM u JOIN t ON id = k WHERE h = 0",
        often=True,
    ),
    "an outer join whose far side makes values of answers, with a limit": Form(
        "SELECT id, coalesce(a, 'none') AS b FROM t LEFT JOIN (SELECT k, h, nvl(upper(ai_query('chat', 'is ' || q)), "
        "'no answer') AS a FROM u) ON id = k AND h = 0 ORDER BY id LIMIT 3",
        "SELECT 'is ' || q FROM (SELECT id, q FROM t LEFT JOIN u ON id = k AND h = 0 ORDER BY id LIMIT 3) "
        "WHERE q IS NOT NULL",
        often=True,
    ),
    "a right join whose far side makes values of answers, with a limit": Form(
        "SELECT id, coalesce(a, 'none') AS b FROM (SELECT k, h, ai_query('chat', 'is ' || q) || '!' AS a FROM u) "
        "RIGHT JOIN t ON id = k AND h = 0 ORDER BY id DESC LIMIT 4",
        "SELECT 'is ' || q FROM (SELECT id, q FROM t LEFT JOIN u ON id = k AND h = 0 ORDER BY id DESC LIMIT 4) "
        "WHERE q IS NOT NULL",
    ),
    "a join by answers too": Form(
        "SELECT id, k FROM t JOIN u ON g = h AND ai_query('chat', p || q) = 'yes' WHERE id < 6",
        "SELECT p || q FROM t JOIN u ON g = h WHERE id < 6",
    ),
    "branches": Form(
        "SELECT id, CASE WHEN id < 3 THEN ai_query('chat', p) WHEN ai_query('chat', w) = 'x' THEN w ELSE "
        "coalesce(note, ai_query('chat', upper(p))) END AS a FROM t WHERE id < 8",
        "SELECT p FROM t WHERE id < 3 UNION ALL SELECT w FROM t WHERE id BETWEEN 3 AND 7 "
        "UNION ALL SELECT upper(p) FROM t WHERE id BETWEEN 3 AND 7 AND note IS NULL",
    ),
    "calls in calls": Form(
        "SELECT id, ai_query('chat', 'is ' || ai_query('chat', p)) AS a FROM t ORDER BY id LIMIT 3",
        "SELECT p FROM t WHERE id < 3 UNION ALL SELECT 'is ' || ai_query('chat', p) FROM t WHERE id < 3",
    ),
    "the same call twice": Form(
        "SELECT ai_query('chat', p) AS a, length(ai_query('chat', p)) AS b FROM t WHERE ai_query('chat', p) <> 'x'",
        "SELECT p FROM t",
    ),
    "a call beside explode": Form(
        "SELECT id, a, x FROM (SELECT id, parts, ai_query('chat', p) AS a FROM t) AS d "
        "LATERAL VIEW explode(parts) AS x ORDER BY id, x LIMIT 3",
        "SELECT p FROM t WHERE id < 2",
        often=True,
    ),
    "explode of the answers": Form(
        "SELECT id, x FROM t LATERAL VIEW explode(split(ai_query('chat', p), '')) AS x WHERE id < 3",
        "SELECT p FROM t WHERE id < 3",
    ),
    "a call on what explode gives": Form(
        "SELECT id, x, ai_query('chat', x) AS a FROM t LATERAL VIEW OUTER explode(parts) AS x ORDER BY id, x LIMIT 3",
        "SELECT x FROM (SELECT id, explode(parts) AS x FROM t) ORDER BY id, x LIMIT 3",
    ),
    "groups of answers": Form(
        "SELECT ai_query('chat', w) AS a, count(*) AS n FROM t GROUP BY ai_query('chat', w) ORDER BY n DESC, a LIMIT 1",
        "SELECT w FROM t",
    ),
    "HAVING before the call": Form(
        "SELECT g, ai_query('chat', string(g)) AS a FROM t GROUP BY g HAVING max(id) > 15",
        "SELECT string(g) FROM t GROUP BY g HAVING max(id) > 15",
    ),
    "a FILTER of an aggregate": Form(
        "SELECT g, count(*) FILTER (WHERE ai_query('chat', p) = 'yes' AND id < 6) AS n FROM t GROUP BY g",
        "SELECT p FROM t WHERE id < 6",
    ),
    "a field that no answer is in": Form(
        "SELECT s.i FROM (SELECT named_struct('a', ai_query('chat', p), 'i', id) AS s FROM t) AS d",
        "SELECT p FROM t WHERE false",
    ),
    "PIVOT": Form(
        "SELECT * FROM (SELECT g, ai_query('chat', w) AS c, id FROM t WHERE id < 6) "
        "PIVOT (count(id) FOR c IN ('yes' AS y, 'no' AS n))",
        "SELECT w FROM t WHERE id < 6",
    ),
    "a correlated subquery": Form(
        "SELECT id, (SELECT max(ai_query('chat', q)) FROM u WHERE k = id) AS m FROM t WHERE id < 4",
        "SELECT q FROM u WHERE k < 4",
    ),
    "a window over answers": Form(
        "SELECT id, count(*) OVER (PARTITION BY ai_query('chat', w)) AS n FROM t WHERE id < 3",
        "SELECT w FROM t WHERE id < 3",
    ),
    "an order by answers": Form(
        "SELECT id, ai_query('chat', upper(p)) AS b FROM t ORDER BY ai_query('chat', w), id LIMIT 3",
        "SELECT w FROM t UNION ALL (SELECT upper(p) FROM t ORDER BY ai_query('chat', w), id LIMIT 3)",
    ),
    "names that Spark gives": Form(
        "SELECT ai_query('chat', p), upper(ai_query('chat', p)) FROM t WHERE id < 2",
        "SELECT p FROM t WHERE id < 2",
    ),
}
RUN = [name for name, form in FORMS.items() if form.often or "AIQ_SPARK_ALL" in os.environ]


@pytest.fixture
def plain(engine: Engine, spark: SparkSession) -> SparkSession:
    """A session of plain Spark with the engine's tables `t` and `u`, in several partitions each."""

    def answer(endpoint: str, prompt: str | None) -> str | None:
        from aiq.simulator.answers import choices
        from aiq.simulator.exchange import VendorRequest

        if prompt is None:
            return None
        messages = [{"role": "user", "content": prompt}]
        asked = VendorRequest(endpoint, "gpt-4o-mini", {}, messages=messages, sampling=(None, None, None))
        return choices(asked, seed=0, label=True)[0].text or ""

    session = spark.newSession()
    session.udf.register("ai_query", F.udf(answer, "string", useArrow=False))
    label = "\nAnswer with exactly one of: yes, no"
    t: list[tuple[Any, ...]] = [
        (
            i,
            i % 4,
            f"Item {i}: {'no' if i % 3 else 'yes'}.{label}",
            f"Word {i % 6}.{label}",
            None if i % 7 == 3 else float(i * 5 % ROWS),
            [f"part {i}", f"part {i % 3}"],
            None if i % 5 == 0 else f"note {i}",
        )
        for i in range(ROWS)
    ]
    u = [(k, f"Other {k}: {'yes' if k % 4 else 'no'}.{label}", k % 3) for k in range(0, ROWS, 2)]
    columns = "id INT, g INT, p STRING, w STRING, price DOUBLE, parts ARRAY<STRING>, note STRING"
    spread = spark.sparkContext.parallelize
    for each in (session, engine.session.spark):
        each.createDataFrame(spread(t, 3), columns).createOrReplaceTempView("t")
        each.createDataFrame(spread(u, 2), "k INT, q STRING, h INT").createOrReplaceTempView("u")
    return session


@pytest.mark.parametrize("name", RUN)
def test_a_form_gives_the_rows_of_plain_spark_and_asks_what_they_need(
    plain: SparkSession, engine: Engine, name: str
) -> None:
    statement, needed, _ = FORMS[name]
    frame = engine.session.sql(statement)
    found = list(map(repr, frame.collect()))
    expected = plain.sql(statement)
    rows = list(map(repr, expected.collect()))
    if "ORDER BY" not in statement.rpartition(")")[2]:
        found, rows = sorted(found), sorted(rows)
    assert frame.dtypes == expected.dtypes
    assert found == rows
    assert engine.requests() == len({request for (request,) in plain.sql(needed).collect() if request is not None})


@pytest.mark.parametrize("kind", ["delta", "parquet"])
def test_a_table_that_is_there_is_not_created_and_asks_nothing(plain: SparkSession, engine: Engine, kind: str) -> None:
    plain.sql(f"CREATE TABLE made USING {kind} AS SELECT 7 AS id")
    query = f"USING {kind} AS SELECT id, ai_query('chat', p) AS a FROM t"
    created = f"CREATE TABLE IF NOT EXISTS made {query}"
    assert [row[0] for row in engine.sql(f"EXPLAIN AI {created}")] == ["total"]
    engine.sql(created)
    with pytest.raises(AnalysisException, match="already exists"):
        engine.sql(f"CREATE TABLE made {query}")
    assert engine.requests() == 0
    assert engine.sql("SELECT * FROM made") == [(7,)]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("INSERT INTO made SELECT id, ai_query('chat', p) FROM t", "gives 2 columns"),
        ("INSERT INTO made SELECT array(ai_query('chat', p)) FROM t", "ARRAY<STRING>"),
        ("INSERT INTO missing SELECT ai_query('chat', p) FROM t", "missing"),
        ("INSERT INTO made (nope) SELECT ai_query('chat', p) FROM t", "nope"),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_call(
    plain: SparkSession, engine: Engine, statement: str, words: str
) -> None:
    plain.sql("CREATE TABLE made USING delta AS SELECT 7 AS id")
    with pytest.raises((AnalysisException, StatementError), match=words):
        engine.sql(statement)
    assert engine.requests() == 0


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("ALTER TABLE made ADD CONSTRAINT c CHECK (ai_query('chat', string(id)) <> 'x')", "ALTER TABLE cannot hold"),
        (
            "CREATE TABLE other (id INT, a STRING GENERATED ALWAYS AS (ai_query('chat', string(id))))",
            "CREATE TABLE can",
        ),
        ("DECLARE VARIABLE v STRING DEFAULT ai_query('chat', 'x')", "SET VARIABLE"),
        ("INSERT INTO made REPLACE WHERE ai_query('chat', string(id)) = 'yes' SELECT id FROM t", "REPLACE WHERE"),
    ],
)
def test_a_command_that_cannot_hold_a_call_is_refused(
    plain: SparkSession, engine: Engine, statement: str, words: str
) -> None:
    plain.sql("CREATE TABLE made USING delta AS SELECT 7 AS id")
    with pytest.raises(StatementError, match=re.compile(words, re.IGNORECASE)):
        engine.sql(statement)
    assert engine.requests() == 0
    assert engine.sql("SELECT * FROM made") == [(7,)]


def test_replace_where_asks_for_the_rows_that_it_writes(plain: SparkSession, engine: Engine) -> None:
    plain.sql("CREATE TABLE made USING delta AS SELECT id AS k, 'old' AS a FROM range(6)")
    engine.sql(
        "INSERT INTO made REPLACE WHERE k < 3 "
        "SELECT id, CASE WHEN id = 1 THEN ai_query('chat', p) ELSE 'new' END FROM t WHERE id < 3"
    )
    assert engine.requests() == 1
    expected = "SELECT id, CASE WHEN id = 1 THEN ai_query('chat', p) WHEN id < 3 THEN 'new' ELSE 'old' END FROM t"
    assert engine.sql("SELECT * FROM made ORDER BY k") == [tuple(row) for row in plain.sql(expected).take(6)]
