"""Tokens of a statement: what is refused, which parameters and which of the ledger's tables it names."""

from __future__ import annotations

import pytest

from aiq.engines.duckdb.dialect import expression_to_duckdb
from aiq.errors import StatementError
from aiq.sql import calls
from aiq.sql.databricks.statements import to_duckdb

TABLES = ["system.aiq.calls", "main.ai.chat_payload"]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT ai_query('chat', body", "not closed"),
        ("SELECT ai_query('chat', (body)", "not closed"),
        ("SELECT ai_query('chat',, body)", "empty argument"),
        ("SELECT ai_query('chat', body,)", "empty argument"),
        ("SELECT ai_query(, body)", "empty argument"),
        ("SELECT ai_query('chat', returnType =>)", "no value for its argument returnType"),
    ],
)
def test_a_call_that_is_not_well_formed_says_why(sql: str, words: str) -> None:
    with pytest.raises(StatementError, match=words):
        calls.find_calls(sql, calls.tokenize(sql))


@pytest.mark.parametrize("sql", ["SELECT 'open", "SELECT /* open", 'SELECT "open'])
def test_a_text_that_does_not_end_is_refused(sql: str) -> None:
    with pytest.raises(StatementError, match="cannot be read"):
        calls.tokenize(sql)


@pytest.mark.parametrize(
    ("sql", "count"), [("", 0), (";;", 0), ("SELECT 1", 1), ("SELECT 1;", 1), ("SELECT ';'; -- ;\nSELECT 2", 2)]
)
def test_statements_are_counted(sql: str, count: int) -> None:
    assert calls.statements(sql, calls.tokenize(sql)) == count


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT ?, '?', ?", ["1", "2"]),
        ("SELECT $1, $2, $1", ["1", "2", "1"]),
        ("SELECT $name, '$other', $$ $third $$", ["name"]),
        ("SELECT a ->> '$.x' -- $1", []),
        ("SELECT ?2, ?1", ["2", "1"]),
    ],
)
def test_parameters_are_found_where_they_are_none_of_a_string(sql: str, names: list[str]) -> None:
    found = calls.find_parameters(calls.tokenize(sql))
    assert [parameter.name for parameter in found] == names
    assert all(sql[parameter.start] in "?$" for parameter in found)


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("FROM system.aiq.calls", ["system.aiq.calls"]),
        ('FROM "SYSTEM" . aiq."Calls" c, main.ai.chat_payload', ["system.aiq.calls", "main.ai.chat_payload"]),
        ("FROM other.system.aiq.calls", []),
        ("SELECT 'system.aiq.calls'", []),
        ("FROM aiq.calls", []),
    ],
)
def test_the_ledgers_tables_are_found_by_their_three_names(sql: str, found: list[str]) -> None:
    assert [name for _, _, name in calls.find_tables(calls.tokenize(sql), TABLES)] == found


def test_a_name_in_the_ledgers_schemas_that_no_table_has_is_reported() -> None:
    sql = "SELECT * FROM system.aiq.cals, system.serving.x, system.other.y, system.aiq.calls"
    assert calls.find_unknown_tables(calls.tokenize(sql), TABLES) == ["system.aiq.cals", "system.serving.x"]


def test_backticks_outside_strings_are_databricks() -> None:
    assert calls.has_backticks(calls.tokenize("SELECT `a`"))
    assert not calls.has_backticks(calls.tokenize("SELECT '`a`'"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ai_query('chat', body)", "AI_QUERY ( 'chat',\n body /* all of it */ ) -- now"),
        ("f(a::double precision, 0x1F)", "f(A::DOUBLE\n  PRECISION, 0x1f)"),
        ("f($1, Größe)", "F($1, größe)"),
    ],
)
def test_blanks_comments_and_the_case_of_names_make_no_other_text(one: str, other: str) -> None:
    assert calls.words(one) == calls.words(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("f('body')", "f(body)"),
        ('f("body")', "f('body')"),
        ('f("current_date")', "f(current_date)"),
        ("f('A')", "f('a')"),
        ("f(e'A')", "f(e'a')"),
        ("f($$A$$)", "f($$a$$)"),
        ("f('a b')", "f('a  b')"),
        ("f('a''b')", "f('a', 'b')"),
        ("f(1)", "f(1.0)"),
        ("f(a.b)", "f(a, b)"),
    ],
)
def test_texts_of_other_words_stay_apart(one: str, other: str) -> None:
    assert calls.words(one) != calls.words(other)


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT e'it\\'s ai_query(', ai_query('c', a)", ["ai_query('c', a)"]),
        ("SELECT $$ ai_query('c', a) $$, 'ai_query(', \"ai_query\" FROM t -- ai_query(", []),
        ("SELECT f.ai_query('c', a), t.\"ai_query\" ('c', b), ai_query", []),
        ("SELECT \"AI_QUERY\"('c', a) /* ai_query( /* ( */ */", ["\"AI_QUERY\"('c', a)"]),
        ("SELECT {'a': {'b': ai_query('c', [a, (b)])}}", ["ai_query('c', [a, (b)])"]),
    ],
)
def test_calls_are_found_where_they_are_none_of_a_string(sql: str, found: list[str]) -> None:
    assert [call.text for call in calls.find_calls(sql, calls.tokenize(sql))] == found


def test_replacements_may_come_in_any_order() -> None:
    assert calls.replace("abcdef", [(4, 5, "E"), (0, 2, "")]) == "cdEf"


def translated(text: str) -> str:
    return expression_to_duckdb(text, calls.tokenize(text))


@pytest.mark.parametrize(
    "text", ["{'temperature': 0.0}", "map(['a'], [1])", "array(SELECT 1)", "a  ||  b", "1.5", "map"]
)
def test_an_argument_that_duckdb_reads_is_not_touched(text: str) -> None:
    assert translated(text) == text


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("named_struct('temperature', 0.0, 'stop', array('a'))", "{'temperature': 0.0, 'stop': ['a']}"),
        ("0.5D", "CAST(0.5 AS DOUBLE)"),
    ],
)
def test_databricks_spellings_of_an_argument_are_translated(text: str, result: str) -> None:
    assert translated(text) == result


def test_a_text_that_is_not_sql_is_refused() -> None:
    with pytest.raises(StatementError, match="as Databricks SQL"):
        to_duckdb("SELECT FROM WHERE (")
