"""Statements in the forms in which people publish `ai_query` for Databricks: both engines run them, and send the same.

Tables, prompts and names are made up here. A case is the statements before the last one, the last one, and its prompts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conformance.conftest import Engine, SparkEngine
from tests.conftest import ConfFolder, Rows

ENGINES = ("duckdb", "spark")


class Shape(NamedTuple):
    """`text` has statements, one after a blank line; the last gives rows. `prompts` are sent, in any order."""

    text: str
    prompts: tuple[str, ...]


SHAPES = {
    "a question alone, in double quotes": Shape(
        """%sql
        SELECT AI_QUERY("chat", "Name a colour. It's for a wall.") AS colour""",
        ("Name a colour. It's for a wall.",),
    ),
    "a comment as title, a prompt over lines": Shape(
        """-- DBTITLE 1,Summaries
        SELECT k, ai_query(
            'chat', -- the small one
            CONCAT('Sum up:
- short
- kind\\n', body)
          ) AS summary
        FROM mails WHERE k < 1 /* one */ LIMIT 10;""",
        ("Sum up:\n- short\n- kind\nmail 0",),
    ),
    "failOnError with both names of its fields": Shape(
        """SELECT k, r.response AS answer, r.errorMessage AS trouble FROM (
          SELECT k, ai_query('chat', concat('Q: ', body), failOnError => false,
            modelParameters => named_struct('max_tokens', 20, 'temperature', CAST(0 AS DOUBLE))) AS r
          FROM mails) WHERE r.error IS NULL""",
        ("Q: mail 0", "Q: mail 1", "Q: mail 2"),
    ),
    "the result of a call without an alias between": Shape(
        "SELECT k, ai_query('chat', body, failOnError => False).result AS a FROM mails WHERE k = 1", ("mail 1",)
    ),
    "a function with defaults, comments and a query": Shape(
        """CREATE OR REPLACE FUNCTION cat.tools.ask_about(
            subject STRING COMMENT 'what', tone STRING DEFAULT 'kind' COMMENT 'how')
          RETURNS STRING LANGUAGE SQL NOT DETERMINISTIC
          COMMENT "Asks about a subject; it's short"
          RETURN (SELECT ai_query('chat', CONCAT("Tell me of ", subject, ', ', tone)))

        SELECT cat.tools.ask_about(body), cat.tools.ask_about('tea', tone => 'dry') FROM mails WHERE k = 0""",
        ("Tell me of mail 0, kind", "Tell me of tea, dry"),
    ),
    "a function with rows over a grouped query": Shape(
        """CREATE OR REPLACE FUNCTION by_box() RETURNS TABLE (box STRING, said STRING, most INT)
          COMMENT 'one row a box' RETURN
          WITH grouped AS (SELECT box, max(body) AS last, max(k) AS most FROM mails GROUP BY box)
          SELECT box, ai_query('chat', 'Box ' || box || ': ' || last, failOnError => False).result, most FROM grouped

        SELECT * FROM by_box() ORDER BY box""",
        ("Box a: mail 2", "Box b: mail 1"),
    ),
    "a view over a function over a view": Shape(
        """CREATE OR REPLACE VIEW late AS SELECT * FROM mails WHERE k > 0

        CREATE FUNCTION IF NOT EXISTS label(x STRING) RETURNS STRING RETURN ai_query('chat', concat('Label: ', x))

        CREATE OR REPLACE VIEW labelled (k, label) COMMENT 'with labels' AS SELECT k, label(body) FROM late

        SELECT label FROM labelled WHERE k = 2""",
        ("Label: mail 2",),
    ),
    "a materialized view over counts": Shape(
        """CREATE OR REFRESH MATERIALIZED VIEW boxes COMMENT 'a box a row' AS
          WITH counts AS (
            SELECT 'BOX' AS kind, box, COUNT(*) AS n FROM mails GROUP BY ALL
            UNION ALL
            SELECT 'ALL' AS kind, 'all' AS box, COUNT(DISTINCT k) AS n FROM mails)
          SELECT *, ai_query('chat', kind || ' ' || box || ' has ' || CAST(n AS STRING)) AS said FROM counts

        SELECT count(said) FROM boxes""",
        ("BOX a has 2", "BOX b has 1", "ALL all has 3"),
    ),
    "a table from a query in parentheses": Shape(
        """CREATE OR REPLACE TABLE answered AS (
          SELECT k, AI_QUERY("chat", CONCAT("Answer: ", body), failOnError => True,
            modelParameters => named_struct('max_tokens', 100, 'temperature', 0.7)) AS answer
          FROM mails LIMIT 100
        )

        SELECT count(answer) FROM answered""",
        ("Answer: mail 0", "Answer: mail 1", "Answer: mail 2"),
    ),
    "JSON of a row in the prompt": Shape(
        """SELECT ai_query('chat', CONCAT('Row: ', TO_JSON(NAMED_STRUCT('k', k, 'body', body)))) AS a
        FROM mails WHERE k = 2""",
        ('Row: {"k":2,"body":"mail 2"}',),
    ),
    "from_json over a schema, and its fields": Shape(
        """WITH answers AS (SELECT k, from_json(ai_query('chat', concat('JSON please: ', body),
            responseFormat => '{"type":"json_object"}'),
            'STRUCT<name: STRING, parts: ARRAY<STRUCT<part: STRING>>>') AS j
          FROM mails WHERE k < 2)
        SELECT k, j.name, j.parts[0].part FROM answers""",
        ("JSON please: mail 0", "JSON please: mail 1"),
    ),
    "lists of a column joined": Shape(
        """WITH all_of AS (SELECT array_join(collect_list(body), ' / ') AS corpus FROM mails WHERE k = 1)
        SELECT ai_query('chat', 'Corpus: ' || corpus) AS a FROM all_of""",
        ("Corpus: mail 1",),
    ),
    "variables of a session": Shape(
        """DECLARE OR REPLACE VARIABLE tone STRING DEFAULT 'short'

        SET VAR tone = 'long'

        SELECT ai_query('chat', tone || ': ' || body) AS a FROM mails WHERE k = 0""",
        ("long: mail 0",),
    ),
    "widgets in names and prompts": Shape(
        "SELECT ai_query('${model}', concat('${ask} ', body)) AS a FROM IDENTIFIER(:source) WHERE k = 0",
        ("Why? mail 0",),
    ),
    "files of a volume": Shape(
        """SELECT ai_query('chat', concat('File: ', value)) AS a
        FROM read_files('/Volumes/cat/box/raw', format => 'text', fileNamePattern => '*.txt')""",
        ("File: one", "File: two"),
    ),
    "a merge of answers": Shape(
        """CREATE OR REPLACE TABLE kept AS SELECT k, 'old' AS said FROM mails WHERE k < 2

        MERGE INTO kept AS t
        USING (SELECT k, ai_query('chat', concat('New: ', body)) AS said FROM mails WHERE k > 0) AS s ON t.k = s.k
        WHEN MATCHED THEN UPDATE SET t.said = s.said
        WHEN NOT MATCHED THEN INSERT (k, said) VALUES (s.k, s.said)

        SELECT count(*) FROM kept WHERE said <> 'old'""",
        ("New: mail 1", "New: mail 2"),
    ),
    "an update by a function": Shape(
        """CREATE OR REPLACE TABLE places AS SELECT k, body, CAST(NULL AS STRING) AS said FROM mails

        CREATE OR REPLACE FUNCTION describe_place(x STRING, y STRING) RETURNS STRING
          RETURN ai_query('chat', concat(x, " in ", y))

        UPDATE places SET said = describe_place(body, 'town') WHERE k = 1

        SELECT count(said) FROM places""",
        ("mail 1 in town",),
    ),
}


@pytest.fixture(autouse=True)
def places(conf: ConfFolder, tmp_path: Path) -> None:
    """A volume with two files, and a catalog `cat`."""
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "raw" / "a.csv").write_text("three\n")
    conf.settings(
        catalogs={"cat": None},
        volumes={"/Volumes/cat/box/raw": str(tmp_path / "raw")},
        endpoints={"model": {"model_server": {"url": "http://127.0.0.1:1"}}},
    )


@pytest.fixture
def mails(engine: Engine) -> Iterator[Engine]:
    """A table `mails` of three rows."""
    run(engine, "CREATE SCHEMA IF NOT EXISTS tools")
    rows = "VALUES (0, 'mail 0', 'a'), (1, 'mail 1', 'b'), (2, 'mail 2', 'a') AS v(k, body, box)"
    run(engine, f"CREATE TABLE mails {using(engine)} AS SELECT * FROM {rows}")
    yield engine
    run(engine, "DROP SCHEMA tools CASCADE")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_published_form_runs_and_sends_its_prompts(
    mails: Engine, ledger_rows: Callable[[str], Rows], shape: str
) -> None:
    *before, last = SHAPES[shape].text.replace("CREATE OR REPLACE TABLE", "CREATE TABLE").split("\n\n")
    for text in before:
        run(mails, text.replace(" AS ", f" {using(mails)} AS ", 1) if "CREATE TABLE" in text else text)
    assert run(mails, last)
    assert mails.requests() == len(SHAPES[shape].prompts)
    sent = [json.loads(row["request"])["messages"][-1]["content"] for row in ledger_rows("main.ai.chat_payload")]
    assert sorted(sent) == sorted(SHAPES[shape].prompts)


def using(engine: Engine) -> str:
    return "USING delta" if isinstance(engine, SparkEngine) else ""


def run(engine: Engine, text: str) -> list[Any]:
    variables = {"model": "chat", "ask": "Why?", "source": "mails"}
    if isinstance(engine, SparkEngine):
        return list(engine.session.sql(text, variables=variables).collect())
    result = engine.session.sql(text, dialect="databricks", variables=variables)
    return [] if result is None else list(result.fetchall())
