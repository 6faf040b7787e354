"""The four forms of `responseFormat`, and how a wrong one is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from aiq.errors import FunctionError

if TYPE_CHECKING:
    from tests.conformance.conftest import Engine

ENGINES = ("duckdb", "registered", "spark")

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
ENVELOPE = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}

Ledger = Callable[..., list[dict[str, Any]]]


def sent(ledger_rows: Ledger) -> dict[str, Any]:
    (row,) = ledger_rows("main.ai.chat_payload")
    body: dict[str, Any] = json.loads(row["request"])
    return body


@pytest.mark.parametrize("text", ["text", "TEXT", '{"type":"text"}'])
def test_text_is_what_is_asked_for_without_it(engine: Engine, text: str) -> None:
    (row,) = engine.sql(
        f"SELECT ai_query('chat', 'Hi.', responseFormat => '{text}') AS a, ai_query('chat', 'Hi.') AS b"
    )
    assert row[0] == row[1] and engine.requests() == 1


def test_json_mode_gives_a_string_of_json(engine: Engine, ledger_rows: Ledger) -> None:
    ((r,),) = engine.sql(
        """SELECT ai_query('chat', 'Answer in JSON.', responseFormat => '{"type":"json_object"}') AS r"""
    )
    assert isinstance(json.loads(r), dict)
    assert sent(ledger_rows)["response_format"] == {"type": "json_object"}


def test_a_json_schema_goes_to_the_provider_as_it_is(engine: Engine, ledger_rows: Ledger) -> None:
    ((r,),) = engine.sql(f"SELECT ai_query('chat', 'Hi.', responseFormat => '{json.dumps(ENVELOPE)}') AS r")
    assert list(json.loads(r)) == ["a"]
    assert sent(ledger_rows)["response_format"] == ENVELOPE


def test_a_ddl_struct_becomes_a_strict_schema_named_after_its_wrapper(engine: Engine, ledger_rows: Ledger) -> None:
    ((r,),) = engine.sql(
        "SELECT ai_query('chat', 'Hi.', responseFormat => 'STRUCT<wrap: STRUCT<a: STRING, b: DOUBLE>>') AS r"
    )
    assert isinstance(r, str) and list(json.loads(r)) == ["a", "b"]
    asked = sent(ledger_rows)["response_format"]["json_schema"]
    assert (asked["name"], asked["strict"], asked["schema"]["required"]) == ("wrap", True, ["a", "b"])


def test_the_result_stays_a_string_under_fail_on_error_false(engine: Engine) -> None:
    ((r,),) = engine.sql(
        "SELECT ai_query('chat', 'Hi.', responseFormat => 'STRUCT<w: STRUCT<a: INT>>', failOnError => false) AS r"
    )
    assert isinstance(json.loads(r["result"])["a"], int)


def test_it_may_be_the_schema_of_a_json_sample(engine: Engine) -> None:
    ((r,),) = engine.sql(
        """SELECT ai_query('chat', 'Hi.', responseFormat => schema_of_json('{"w": {"a": 1, "b": true}}')) AS r"""
    )
    assert set(json.loads(r)) == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "sub", "words"),
    [
        ("STRUCT<a: INT>", "DDL_STRING", "`a` should be StructType, but found: IntegerType"),
        ("STRUCT<a: ARRAY<STRUCT<b: INT>>>", "DDL_STRING", "but found: ArrayType"),
        ("STRUCT<a: STRUCT<x: INT>, b: STRUCT<y: INT>>", "DDL_STRING", "but found 2 fields"),
        ("INT", "DDL_STRING", "IntegerType"),
        ("STRUCT<a: STRUCT<b: NOSUCH>>", "DDL_STRING", "NOSUCH"),
        ("", "DDL_STRING", "empty"),
        (json.dumps(SCHEMA), "JSON_STRING", "needs its envelope"),
        ("{nonsense", "JSON_STRING", "not valid JSON"),
        ('{"type":"xml"}', "JSON_STRING", "must be text, json_object or json_schema"),
        ('{"type":"json_schema"}', "JSON_STRING", "json_schema"),
        ('{"type":"json_schema","json_schema":{"schema":{}}}', "JSON_STRING", "name"),
        ('{"type":"json_schema","json_schema":{"name":"a b","schema":{}}}', "JSON_STRING", "name"),
        ("[1]", "JSON_STRING", "JSON object"),
    ],
)
def test_a_malformed_format_is_told_before_any_call(engine: Engine, text: str, sub: str, words: str) -> None:
    with pytest.raises(FunctionError) as caught:
        engine.sql(f"SELECT ai_query('chat', 'Hi.', responseFormat => '{text}') AS r")
    assert caught.value.condition == f"AI_FUNCTION_UNSUPPORTED_RESPONSE_FORMAT.{sub}"
    assert caught.value.sqlstate == "0A000" and words in str(caught.value)
    assert engine.requests() == 0


@pytest.mark.parametrize("endpoint", ["emb", "complete", "model"])
def test_only_a_chat_endpoint_takes_one(engine: Engine, endpoint: str) -> None:
    with pytest.raises(FunctionError) as caught:
        engine.sql(f"SELECT ai_query('{endpoint}', 'Hi.', responseFormat => 'text', returnType => 'ARRAY<INT>') AS r")
    assert caught.value.condition == "AI_QUERY_ENDPOINT_NOT_SUPPORT_STRUCTURED_OUTPUT"
