"""What `ai_query` returns: types, NULLs, casts, and the struct of failOnError => false."""

from __future__ import annotations

import datetime
import decimal
from typing import TYPE_CHECKING, Any

import pytest

from aiq.errors import FunctionError, ProviderError, ResultError

if TYPE_CHECKING:
    from tests.conformance.conftest import Engine

ENGINES = ("duckdb", "registered", "spark")


def test_a_chat_endpoint_gives_a_string(engine: Engine) -> None:
    ((r,),) = engine.sql("SELECT ai_query('chat', 'Hi there.') || '!' AS r")
    assert r.startswith("[simulated]") and r.endswith("Hi there.!")


def test_every_row_gets_the_answer_to_its_own_prompt(engine: Engine) -> None:
    engine.load("t", body=[f"Number {i}." for i in range(500)])
    rows = engine.sql("SELECT id, ai_query('chat', body) AS r FROM t")
    assert len(rows) == 500 and all(r.endswith(f"Number {i}.") for i, r in rows)


def test_null_gives_null_without_a_call(engine: Engine) -> None:
    engine.load("t", body=[None, "One.", None])
    rows = dict(engine.sql("SELECT id, ai_query('chat', body) AS r FROM t"))
    assert rows[0] is None and rows[2] is None and rows[1].endswith("One.")
    assert engine.requests() == 1


def test_null_gives_null_under_fail_on_error_false(engine: Engine) -> None:
    engine.load("t", body=[None, "One."])
    rows = dict(engine.sql("SELECT id, ai_query('chat', body, failOnError => false) AS r FROM t"))
    assert rows[0] is None and rows[1]["errorMessage"] is None


@pytest.mark.parametrize(
    ("endpoint", "options"),
    [
        ("chat", ""),
        ("emb", ""),
        ("complete", ""),
        ("model", ", returnType => 'INT'"),
        ("chat", ", failOnError => false"),
        ("chat", ", responseFormat => 'STRUCT<w: STRUCT<a: INT>>'"),
    ],
)
def test_a_null_literal_gives_null_on_every_endpoint(engine: Engine, endpoint: str, options: str) -> None:
    assert engine.sql(f"SELECT ai_query('{endpoint}', NULL{options}) AS r") == [(None,)]
    assert engine.requests() == 0


def test_an_empty_prompt_is_a_prompt(engine: Engine) -> None:
    assert engine.sql("SELECT ai_query('chat', '') AS r")[0][0].startswith("[simulated]")
    assert engine.requests() == 1


def test_no_rows_make_no_call(engine: Engine) -> None:
    engine.load("t", body=["x"])
    assert engine.sql("SELECT ai_query('chat', body) AS r FROM t WHERE id > 5") == []
    assert engine.requests() == 0


@pytest.mark.parametrize(
    ("value", "type_text", "expected"),
    [
        ("'text'", "STRING", "text"),
        ("12", "STRING", "12"),
        ("12", "INT", 12),
        ("'12'", "BIGINT", 12),
        ("1", "BOOLEAN", True),
        ("'false'", "BOOLEAN", False),
        ("0.5", "DOUBLE", 0.5),
        ("0.5", "FLOAT", 0.5),
        ("'12.345'", "DECIMAL(10,2)", decimal.Decimal("12.35")),
        ("'2024-02-29'", "DATE", datetime.date(2024, 2, 29)),
        ("array(1, 2)", "ARRAY<BIGINT>", [1, 2]),
        ("array('a', NULL)", "ARRAY<STRING>", ["a", None]),
        ("named_struct('a', 1, 'b', 'x')", "STRUCT<a: INT, b: STRING>", {"a": 1, "b": "x"}),
        ("named_struct('a', 1, 'b', 'x')", "a INT, c STRING", {"a": 1, "c": None}),
        ("named_struct('only', 1)", "INT", 1),
    ],
)
def test_a_prediction_is_cast_to_the_return_type(engine: Engine, value: str, type_text: str, expected: Any) -> None:
    call = f"ai_query('model', named_struct('__return', {value}), returnType => '{type_text}')"
    assert engine.sql(f"SELECT {call} AS r") == [(expected,)]


def test_a_map_is_a_return_type(engine: Engine) -> None:
    call = "ai_query('model', named_struct('__return', named_struct('k', 1)), returnType => 'MAP<STRING, INT>')"
    assert engine.sql(f"SELECT ({call})['k'] AS r") in ([(1,)], [([1],)])


def test_return_type_may_be_the_schema_of_a_json_sample(engine: Engine) -> None:
    call = "ai_query('model', named_struct('__return', named_struct('b', 'x', 'a', 1)), "
    assert engine.sql(f"""SELECT {call} returnType => schema_of_json('{{"a": 0, "b": ""}}')) AS r""") == [
        ({"a": 1, "b": "x"},)
    ]


def test_a_chat_answer_is_parsed_to_the_return_type(engine: Engine) -> None:
    (row,) = engine.sql(
        "SELECT ai_query('chat', 'Count.', returnType => 'STRUCT<n: INT, w: STRING>', "
        "responseFormat => 'STRUCT<x: STRUCT<n: INT, w: STRING>>') AS r"
    )
    assert isinstance(row[0]["n"], int) and isinstance(row[0]["w"], str)


def test_an_answer_that_does_not_fit_ends_the_statement(engine: Engine) -> None:
    with pytest.raises(ResultError, match="'\\[simulated\\]") as caught:
        engine.sql("SELECT ai_query('chat', 'A word.', returnType => 'INT') AS r")
    assert caught.value.condition == "AI_FUNCTION_HTTP_PARSE_CAST_ERROR" and "2203G" in str(caught.value)


def test_several_columns_do_not_fit_a_scalar(engine: Engine) -> None:
    with pytest.raises(ResultError) as caught:
        engine.sql("SELECT ai_query('model', named_struct('a', 1, 'b', 2), returnType => 'INT') AS r")
    assert caught.value.condition == "AI_FUNCTION_HTTP_PARSE_COLUMNS_ERROR"


def test_an_answer_that_does_not_fit_is_a_message_under_fail_on_error_false(engine: Engine) -> None:
    ((r,),) = engine.sql("SELECT ai_query('chat', 'A word.', returnType => 'INT', failOnError => false) AS r")
    assert r["result"] is None and r["errorMessage"].startswith("[AI_FUNCTION_HTTP_PARSE_CAST_ERROR]")


def test_several_columns_do_not_fit_a_string_either(engine: Engine) -> None:
    with pytest.raises(ResultError, match="has 2 columns"):
        engine.sql("SELECT ai_query('model', named_struct('a', 1, 'b', 2), returnType => 'STRING') AS r")


@pytest.mark.parametrize("type_text", ["StringType", "VARIANT", "STRUCT<>", "ARRAY<", "strin", "", "INTERVAL"])
def test_a_return_type_that_is_no_sql_type_is_refused(engine: Engine, type_text: str) -> None:
    with pytest.raises(FunctionError) as caught:
        engine.sql(f"SELECT ai_query('chat', 'x', returnType => '{type_text}') AS r")
    assert (caught.value.condition, caught.value.sqlstate) == ("AI_FUNCTION_UNSUPPORTED_RETURN_TYPE", "0A000")
    assert engine.requests() == 0


def test_a_custom_model_needs_a_return_type(engine: Engine) -> None:
    with pytest.raises(FunctionError, match="set returnType") as caught:
        engine.sql("SELECT ai_query('model', 'x') AS r")
    assert caught.value.condition == "AI_FUNCTION_MODEL_SCHEMA_PARSE_ERROR"


def test_a_failed_row_gives_a_message_and_the_others_their_result(engine: Engine) -> None:
    engine.load("t", body=["One.", "Two. [[fault:400]]", "Three."])
    rows = dict(engine.sql("SELECT id, ai_query('chat', body, failOnError => false) AS r FROM t"))
    assert rows[0]["result"].endswith("One.") and rows[0]["errorMessage"] is None
    assert rows[1]["result"] is None
    assert "failed with code 400" in rows[1]["errorMessage"] and "57012" in rows[1]["errorMessage"]
    assert rows[2]["result"].endswith("Three.")


def test_the_fields_of_the_struct_can_be_read_at_once(engine: Engine) -> None:
    engine.load("t", body=["One.", "Two. [[fault:400]]"])
    rows = engine.sql(
        "SELECT r.result, r.errorMessage FROM "
        "(SELECT ai_query('chat', body, failOnError => false) AS r FROM t) ORDER BY 1"
    )
    assert sorted(r is None for r, _ in rows) == [False, True]
    assert engine.requests() == 2


def test_a_failed_row_ends_the_statement_by_default(engine: Engine) -> None:
    engine.load("t", body=["One.", "Two. [[fault:content-filter]]"])
    with pytest.raises(ProviderError, match="content management policy") as caught:
        engine.sql("SELECT ai_query('chat', body) AS r FROM t")
    error = caught.value
    assert (error.endpoint, error.entity, error.status, error.kind) == ("chat", "main", 400, "content_filter")


def test_wrong_arguments_end_the_statement_even_under_fail_on_error_false(engine: Engine) -> None:
    with pytest.raises(FunctionError):
        engine.sql("SELECT ai_query('chat', array(42), failOnError => false) AS r")


def test_nothing_where_an_answer_should_be_is_an_error(engine: Engine) -> None:
    with pytest.raises(ProviderError, match="without a word"):
        engine.sql("SELECT ai_query('chat', 'x [[fault:null]]') AS r")


def test_a_refusal_is_an_error(engine: Engine) -> None:
    ((r,),) = engine.sql("SELECT ai_query('chat', 'x [[fault:refusal]]', failOnError => false) AS r")
    assert r["result"] is None and "the model refused" in r["errorMessage"]


def test_an_error_message_holds_no_credential(engine: Engine) -> None:
    ((r,),) = engine.sql("SELECT ai_query('chat', 'x [[fault:401]]', failOnError => false) AS r")
    assert "sk-test" not in r["errorMessage"]
