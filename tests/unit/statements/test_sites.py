"""The arguments of a call, however it was made: the same check, and the same words where one is wrong."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from aiq.errors import FunctionError
from aiq.functions.call_site import Options
from aiq.statements.sites import constants_of, endpoint_of, options_of

STRUCT = pa.struct([("temperature", pa.float64()), ("stop", pa.list_(pa.string()))])


def test_options_are_what_was_given() -> None:
    given = {"returnType": "INT", "failOnError": False, "modelParameters": {"seed": 1}, "responseFormat": "text"}
    assert options_of(given) == Options("INT", False, {"seed": 1}, "text")


def test_options_that_are_null_are_as_if_not_given() -> None:
    given = dict.fromkeys(("returnType", "failOnError", "modelParameters", "responseFormat"))
    assert options_of(given) == options_of({}) == Options()


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("failOnError", "false", "a BOOLEAN"),
        ("failOnError", 0, "a BOOLEAN"),
        ("modelParameters", "temperature", "a STRUCT"),
        ("modelParameters", [("temperature", 0)], "a STRUCT"),
        ("returnType", 1, "a STRING"),
        ("responseFormat", {"type": "text"}, "a STRING"),
    ],
)
def test_an_option_of_the_wrong_type_is_refused(name: str, value: Any, wanted: str) -> None:
    with pytest.raises(FunctionError, match=f"{name} must be {wanted}") as caught:
        options_of({name: value})
    assert caught.value.condition == "DATATYPE_MISMATCH"


@pytest.mark.parametrize("endpoint", [None, 1, b"chat"])
def test_an_endpoint_that_is_no_text_is_refused(endpoint: Any) -> None:
    with pytest.raises(FunctionError, match="endpoint must be a STRING"):
        endpoint_of({"endpoint": endpoint})


def test_constants_are_the_values_that_all_rows_share() -> None:
    found = constants_of(
        {
            "endpoint": pa.array(["chat", "chat"]),
            "request": pa.array(["a", "b"]),
            "failOnError": pa.chunked_array([[None], [None]], pa.bool_()),
            "modelParameters": pa.array([{"temperature": 0.5, "stop": ["#"]}] * 2, STRUCT),
            "files": pa.array([b"a", b"b"]),
        }
    )
    assert found == {
        "endpoint": "chat",
        "failOnError": None,
        "modelParameters": {"temperature": 0.5, "stop": ["#"]},
    }


def test_parameters_may_be_a_map() -> None:
    column = pa.array([[("temperature", Decimal("0.5"))]], pa.map_(pa.string(), pa.decimal128(2, 1)))
    assert constants_of({"modelParameters": column}) == {"modelParameters": {"temperature": Decimal("0.5")}}


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["chat", "chat", "emb"]),
        pa.array(["chat", None]),
        pa.array([{"temperature": 0.5, "stop": ["#"]}, {"temperature": 0.5, "stop": ["?"]}], STRUCT),
        pa.chunked_array([["chat"], ["emb"]]),
    ],
)
def test_a_constant_that_differs_from_row_to_row_is_refused(column: pa.Array) -> None:
    with pytest.raises(FunctionError, match="argument endpoint of ai_query must be a constant, but") as caught:
        constants_of({"endpoint": column})
    assert caught.value.condition == "NON_FOLDABLE_ARGUMENT"
