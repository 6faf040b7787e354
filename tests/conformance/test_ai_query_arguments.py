"""How `ai_query` takes its arguments: by place and by name, constants where constants are due, errors that help."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aiq.errors import FunctionError, StatementError

if TYPE_CHECKING:
    from tests.conformance.conftest import Engine

ENGINES = ("duckdb", "registered", "spark")


def test_positional_and_named_arguments_make_the_same_request(engine: Engine) -> None:
    (row,) = engine.sql(
        "SELECT ai_query('chat', 'Good morning.') AS a, ai_query('chat', request => 'Good morning.') AS b, "
        "ai_query(request => 'Good morning.', endpoint => 'chat') AS c"
    )
    assert len(set(row)) == 1 and engine.requests() == 1


def test_all_four_positions_of_the_old_form_are_taken(engine: Engine) -> None:
    assert engine.sql("SELECT ai_query('model', named_struct('__return', 7), 'INT', false) AS r") == [
        ({"result": 7, "errorMessage": None},)
    ]


@pytest.mark.parametrize("name", ["failOnError", "failonerror", "FAILONERROR", "FailOnError"])
def test_names_of_arguments_have_no_case(engine: Engine, name: str) -> None:
    assert engine.sql(f"SELECT ai_query('chat', 'Hi.', {name} => false) AS r")[0][0]["errorMessage"] is None


@pytest.mark.parametrize("name", ["ai_query", "AI_QUERY", "Ai_Query"])
def test_the_name_of_the_function_has_no_case(engine: Engine, name: str) -> None:
    assert engine.sql(f"SELECT {name}('chat', 'Hi.') AS r")[0][0].startswith("[simulated]")


def test_return_type_is_also_taken_in_the_spelling_of_pyspark(engine: Engine) -> None:
    assert engine.sql("SELECT ai_query('model', named_struct('__return', '3'), return_type => 'INT') AS r") == [(3,)]


def test_comments_and_lines_between_arguments_change_nothing(engine: Engine) -> None:
    text = """SELECT -- ai_query('chat',
      ai_query ( 'chat', /* ai_query( */
        'Hi.' -- the prompt
        , failOnError
        => true ) AS r"""
    assert engine.sql(text) == engine.sql("SELECT ai_query('chat', 'Hi.') AS r")


@pytest.mark.parametrize(
    ("call", "condition", "words"),
    [
        ("ai_query()", "REQUIRED_PARAMETER_NOT_FOUND", "endpoint"),
        ("ai_query('chat')", "REQUIRED_PARAMETER_NOT_FOUND", "request"),
        ("ai_query(request => 'x')", "REQUIRED_PARAMETER_NOT_FOUND", "endpoint"),
        ("ai_query('chat', 'x', bogus => 1)", "UNRECOGNIZED_PARAMETER_NAME", "'bogus'"),
        ("ai_query('chat', 'x', modelParameter => 1)", "UNRECOGNIZED_PARAMETER_NAME", "Did you mean modelParameters"),
        ("ai_query('chat', 'x', request => 'y')", "DUPLICATE_ROUTINE_PARAMETER_ASSIGNMENT", "request twice"),
        (
            "ai_query('chat', 'x', failOnError => true, FAILONERROR => true)",
            "DUPLICATE_ROUTINE_PARAMETER_ASSIGNMENT",
            "failOnError twice",
        ),
        ("ai_query(endpoint => 'chat', 'x')", "UNEXPECTED_POSITIONAL_ARGUMENT", "argument 2"),
        ("ai_query('chat', 'x', 'STRING', true, NULL, NULL, NULL, 1)", "WRONG_NUM_ARGS", "2 to 7"),
        ("ai_query('chat', 'x', failOnError => 'yes')", "DATATYPE_MISMATCH", "BOOLEAN"),
        ("ai_query('chat', 'x', failOnError => 1)", "DATATYPE_MISMATCH", "BOOLEAN"),
        ("ai_query('chat', 'x', modelParameters => 'temperature')", "DATATYPE_MISMATCH", "STRUCT"),
        ("ai_query('chat', 'x', responseFormat => 1)", "DATATYPE_MISMATCH", "STRING"),
        ("ai_query('chat', 'x', returnType => 1)", "DATATYPE_MISMATCH", "STRING"),
        ("ai_query(1, 'x')", "NON_FOLDABLE_ARGUMENT", "endpoint"),
        ("ai_query(NULL, 'x')", "NON_FOLDABLE_ARGUMENT", "endpoint"),
        ("ai_query('chat', array('x'))", "AI_FUNCTION_UNSUPPORTED_REQUEST", "it is ARRAY<STRING>"),
        ("ai_query('chat', CAST('x' AS BINARY))", "AI_FUNCTION_UNSUPPORTED_REQUEST", "it is BINARY"),
        ("ai_query('emb', named_struct('messages', array('x')))", "AI_FUNCTION_UNSUPPORTED_REQUEST", "a STRING"),
    ],
)
def test_a_wrong_argument_is_told_with_its_condition_and_no_call(
    engine: Engine, call: str, condition: str, words: str
) -> None:
    with pytest.raises(FunctionError) as caught:
        engine.sql(f"SELECT {call} AS r")
    assert caught.value.condition == condition
    assert words in str(caught.value) and caught.value.sqlstate in str(caught.value)
    assert engine.requests() == 0


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        ("ai_query(body, 'x')", "endpoint"),
        ("ai_query('chat', body, failOnError => id > 1)", "failOnError"),
        ("ai_query('chat', body, modelParameters => named_struct('temperature', id))", "modelParameters"),
        ("ai_query('chat', body, responseFormat => body)", "responseFormat"),
        ("ai_query('chat', body, returnType => body)", "returnType"),
    ],
)
def test_an_option_that_depends_on_a_row_is_refused(engine: Engine, call: str, argument: str) -> None:
    engine.load("t", body=["a", "b"])
    with pytest.raises(FunctionError, match=f"argument {argument} of ai_query must be a constant") as caught:
        engine.sql(f"SELECT {call} AS r FROM t")
    assert (caught.value.condition, caught.value.sqlstate) == ("NON_FOLDABLE_ARGUMENT", "42K08")
    assert engine.requests() == 0


def test_a_constant_may_be_an_expression(engine: Engine) -> None:
    assert engine.sql("SELECT ai_query(lower('CH') || 'at', 'Hi.', failOnError => NOT true) AS r")[0][0]["result"]


def test_an_option_that_is_null_is_as_if_not_given(engine: Engine) -> None:
    (row,) = engine.sql(
        "SELECT ai_query('chat', 'Hi.', returnType => NULL, failOnError => NULL, modelParameters => NULL, "
        "responseFormat => NULL, files => NULL) AS a, ai_query('chat', 'Hi.') AS b"
    )
    assert row[0] == row[1] and engine.requests() == 1


def test_an_unknown_endpoint_is_told_with_the_nearest_name(engine: Engine) -> None:
    with pytest.raises(StatementError, match=r"'chatt' does not exist. Did you mean 'chat'\?") as caught:
        engine.sql("SELECT ai_query('chatt', 'Hi.') AS r")
    assert "complete, emb, model" in str(caught.value)
    assert engine.requests() == 0


@pytest.mark.parametrize("call", ["ai_query('chat', )", "ai_query('chat',, 'x')", "ai_query('chat', request =>)"])
def test_an_empty_argument_is_a_statement_error(engine: Engine, call: str) -> None:
    with pytest.raises(StatementError, match="ai_query has"):
        engine.sql(f"SELECT {call} AS r")


def test_a_call_that_is_not_closed_is_a_statement_error(engine: Engine) -> None:
    with pytest.raises(StatementError, match="not closed"):
        engine.sql("SELECT ai_query('chat', 'x' AS r")
