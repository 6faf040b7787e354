"""`modelParameters`: what is sent, and Databricks' sub-conditions for what is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from aiq.errors import FunctionError

if TYPE_CHECKING:
    from tests.conformance.conftest import Engine

ENGINES = ("duckdb", "registered", "spark")

Ledger = Callable[..., list[dict[str, Any]]]


def test_parameters_stand_beside_the_prompt_in_the_request(engine: Engine, ledger_rows: Ledger) -> None:
    engine.sql(
        "SELECT ai_query('chat', 'Hi.', modelParameters => named_struct('temperature', 0.5, 'max_tokens', 50, "
        "'stop', array('##'), 'top_p', NULL, 'seed', 7)) AS r"
    )
    (row,) = ledger_rows("main.ai.chat_payload")
    assert json.loads(row["request"]) == {
        "messages": [{"role": "user", "content": "Hi."}],
        "temperature": 0.5,
        "max_tokens": 50,
        "stop": ["##"],
        "seed": 7,
    }


def test_max_tokens_cuts_the_answer(engine: Engine, ledger_rows: Ledger) -> None:
    ((r,),) = engine.sql(
        "SELECT ai_query('chat', 'A sentence of many words.', modelParameters => named_struct('max_tokens', 2)) AS r"
    )
    assert len(r) <= 8
    assert [row["finish_reason"] for row in ledger_rows("system.aiq.calls")] == ["length"]


def test_equal_numbers_make_one_request_however_they_are_spelled(engine: Engine) -> None:
    calls = [
        f"ai_query('chat', 'Hi.', modelParameters => named_struct('temperature', {n}))"
        for n in ("0", "0.0", "CAST(0 AS DOUBLE)")
    ]
    engine.sql("SELECT " + ", ".join(f"{call} AS c{i}" for i, call in enumerate(calls)))
    assert engine.requests() == 1


def test_different_parameters_are_different_requests(engine: Engine) -> None:
    engine.sql(
        "SELECT ai_query('chat', 'Hi.', modelParameters => named_struct('seed', 1)) AS a, "
        "ai_query('chat', 'Hi.', modelParameters => named_struct('seed', 2)) AS b"
    )
    assert engine.requests() == 2


@pytest.mark.parametrize(
    ("endpoint", "parameters", "sub", "words"),
    [
        ("chat", "'messages', 'x'", "FOUND_RESERVED_PARAMETER_NAME", "`messages`"),
        ("chat", "'model', 'x'", "FOUND_RESERVED_PARAMETER_NAME", "`model`"),
        ("chat", "'stream', true", "FOUND_RESERVED_PARAMETER_NAME", "`stream`"),
        ("chat", "'response_format', 'x'", "FOUND_RESERVED_PARAMETER_NAME", "responseFormat"),
        ("emb", "'input', 'x'", "FOUND_RESERVED_PARAMETER_NAME", "`input`"),
        ("complete", "'prompt', 'x'", "FOUND_RESERVED_PARAMETER_NAME", "`prompt`"),
        ("chat", "'temperature', 3", "INVALID_NUMERIC_PARAMETER", "between 0 and 2"),
        ("chat", "'max_tokens', 0", "INVALID_NUMERIC_PARAMETER", "max_tokens"),
        ("chat", "'n', 2", "INVALID_NUMERIC_PARAMETER", "one answer a row"),
        ("chat", "'temperature', 'hot'", "INVALID_PARAMETER_DATA_TYPE", "temperature"),
        ("chat", "'max_tokens', 1.5", "INVALID_PARAMETER_DATA_TYPE", "max_tokens"),
        ("chat", "'stop', 3", "INVALID_PARAMETER_DATA_TYPE", "stop"),
        ("chat", "'temprature', 0", "UNSUPPORTED_MODEL_PARAMETER", "`temperature`"),
        ("chat", "'thinking', true", "UNSUPPORTED_MODEL_PARAMETER", "`thinking`"),
        ("emb", "'temperature', 0", "UNSUPPORTED_MODEL_PARAMETER", "`temperature`"),
        ("model", "'temperature', 0", "UNSUPPORTED_ENDPOINT_TYPE", "custom"),
    ],
)
def test_a_wrong_parameter_is_told_with_its_sub_condition(
    engine: Engine, endpoint: str, parameters: str, sub: str, words: str
) -> None:
    with pytest.raises(FunctionError) as caught:
        engine.sql(
            f"SELECT ai_query('{endpoint}', 'Hi.', modelParameters => named_struct({parameters}), "
            "returnType => 'ARRAY<FLOAT>') AS r"
        )
    assert caught.value.condition == f"AI_FUNCTION_INVALID_MODEL_PARAMETERS.{sub}"
    assert caught.value.sqlstate == "22023" and words in str(caught.value)
    assert f'serving endpoint "{endpoint}"' in str(caught.value)
    assert engine.requests() == 0
