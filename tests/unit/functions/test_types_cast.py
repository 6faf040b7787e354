"""Casts from what a model answered to SQL values."""

import math
from datetime import UTC, date, datetime
from decimal import Decimal

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.errors import FunctionError
from aiq.functions.casts import Misfit, TooManyColumns, converter, prediction_converter, text_converter
from aiq.functions.types import parse_type

json_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["1", " -2.50 ", "1e3", "true", "NaN", "-Infinity", "2024-05-31", "2024-05-31T12:00:00+02:00"]),
    st.sampled_from(["aGk=", "1e999", "0001-01-01T00:00:00+05:00", "1e-400", "９", "1_0", 1e39, 1e300, 127, 128]),
)
keys = st.sampled_from(["a", "B", "c", "1", "01"])
json_values = st.recursive(json_scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys, v), max_leaves=6)
EVERY_KIND = [
    "STRING", "BOOLEAN", "TINYINT", "BIGINT", "FLOAT", "DOUBLE", "DECIMAL(5,2)", "DECIMAL(38,38)", "DATE",
    "TIMESTAMP", "TIMESTAMP_NTZ", "BINARY", "ARRAY<FLOAT>", "ARRAY<DOUBLE>", "ARRAY<STRING>", "MAP<STRING, INT>",
    "MAP<INT, STRING>", "STRUCT<a: INT, b: STRING>", "STRUCT<a: DECIMAL(9,1)>",
    "STRUCT<a: ARRAY<STRUCT<b: DOUBLE>>, c: MAP<STRING, BOOLEAN>>",
]  # fmt: skip


@pytest.mark.parametrize("ddl", EVERY_KIND)
@settings(deadline=None)
@given(value=json_values)
def test_arrow_takes_whatever_a_converter_gives(ddl, value):
    t = parse_type(ddl)
    try:
        converted = converter(t)(value)
    except ValueError as e:
        assert len(str(e)) < 350
    else:
        assert len(pa.array([converted], type=t)) == 1


@pytest.mark.parametrize("ddl", EVERY_KIND)
@settings(deadline=None)
@given(value=json_values)
def test_arrow_takes_whatever_a_text_converter_gives(ddl, value):
    t = parse_type(ddl)
    try:
        converted = text_converter(t)(orjson.dumps(value).decode())
    except ValueError as e:
        assert len(str(e)) < 350
    else:
        assert len(pa.array([converted], type=t)) == 1


@pytest.mark.parametrize(
    ("ddl", "value", "expected"),
    [
        ("STRING", "x ", "x "),
        ("STRING", True, "true"),
        ("STRING", 1.5, "1.5"),
        ("STRING", {"a": [1, None]}, '{"a":[1,null]}'),
        ("STRING", math.nan, "NaN"),
        ("STRING", 10**30, "1" + "0" * 30),
        ("BOOLEAN", " TRUE ", True),
        ("BOOLEAN", "0", False),
        ("BOOLEAN", 1.0, True),
        ("TINYINT", "127", 127),
        ("INT", 3.0, 3),
        ("INT", "1e3", 1000),
        ("INT", " -7.00 ", -7),
        ("BIGINT", 2**63 - 1, 2**63 - 1),
        ("DOUBLE", 1, 1.0),
        ("DOUBLE", "-Infinity", -math.inf),
        ("FLOAT", "2.5", 2.5),
        ("DECIMAL(5,2)", 12.345, Decimal("12.35")),
        ("DECIMAL(5,2)", "0.005", Decimal("0.01")),
        ("DECIMAL(38,0)", "9" * 38, Decimal("9" * 38)),
        ("DATE", "2024-05-31", date(2024, 5, 31)),
        ("DATE", "2024-05-31T23:00:00Z", date(2024, 5, 31)),
        ("TIMESTAMP", "2024-05-31 12:00:00", datetime(2024, 5, 31, 12, tzinfo=UTC)),
        ("TIMESTAMP", "2024-05-31T12:00:00+02:00", datetime(2024, 5, 31, 10, tzinfo=UTC)),
        ("TIMESTAMP_NTZ", "2024-05-31T12:00:00+02:00", datetime(2024, 5, 31, 12)),
        ("BINARY", "aGk=", b"hi"),
        ("ARRAY<DOUBLE>", [1, "2", None], [1.0, 2.0, None]),
        ("ARRAY<FLOAT>", [0.5, 0.25], [0.5, 0.25]),
        ("MAP<STRING, INT>", {"a": "1"}, [("a", 1)]),
        ("MAP<INT, INT>", {"7": 1}, [(7, 1)]),
        ("STRUCT<a: INT, b: STRING>", {"A": 1, "z": 9}, {"a": 1, "b": None}),
        ("STRUCT<a: INT>", {"A": 1, "a": None}, {"a": None}),
    ],
)
def test_a_value_is_cast_as_from_json_does(ddl, value, expected):
    assert converter(parse_type(ddl))(value) == expected


@pytest.mark.parametrize("ddl", EVERY_KIND)
def test_null_stays_null(ddl):
    t = parse_type(ddl)
    assert (converter(t)(None), text_converter(t)(None), prediction_converter(t)(None)) == (None, None, None)


@pytest.mark.parametrize(
    ("ddl", "value", "said"),
    [
        ("BOOLEAN", "yes", "is not a BOOLEAN"),
        ("BOOLEAN", 2, "is not a BOOLEAN"),
        ("TINYINT", 128, "out of the range of TINYINT"),
        ("BIGINT", 1e19, "out of the range of BIGINT"),
        ("INT", "1e999999999", "out of the range of INT"),
        ("INT", "1e-999999999", "not a whole number"),
        ("INT", "1e" + "9" * 30, "is not a number"),
        ("INT", 1.5, "not a whole number"),
        ("INT", True, "is not a number"),
        ("INT", "1_000", "is not a number"),
        ("INT", "1" * 200_000 + "x", "is not a number"),
        ("INT", math.nan, "is not a number"),
        ("FLOAT", 1e39, "out of the range of FLOAT"),
        ("DOUBLE", "1e999", "out of the range of DOUBLE"),
        ("DOUBLE", "abc", "'abc' is not a number that fits DOUBLE"),
        ("DECIMAL(5,2)", 1000, "out of the range of DECIMAL(5,2)"),
        ("DECIMAL(5,2)", math.inf, "is not a number"),
        ("DATE", "31.05.2024", "is not a DATE"),
        ("DATE", 20240531, "is not a DATE"),
        ("TIMESTAMP", "0001-01-01T00:00:00+05:00", "out of the range of TIMESTAMP"),
        ("BINARY", "hi!", "is not base64"),
        ("ARRAY<INT>", {"a": 1}, "is not a JSON array"),
        ("STRUCT<a: INT>", [1], "is not a JSON object"),
        ("MAP<INT, INT>", {"1": 1, "01": 2}, "two keys"),
        ("ARRAY<STRUCT<price: DOUBLE>>", [{"price": 1}, {"price": "much"}], "$[1].price: 'much'"),
        ("MAP<STRING, INT>", {"k": "v"}, "$.k: 'v'"),
        ("INT", "x" * 1000, "x" * 79 + "…"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_place(ddl, value, said):
    with pytest.raises(Misfit) as e:
        converter(parse_type(ddl))(value)
    assert said in str(e.value)


@pytest.mark.parametrize(
    ("ddl", "text", "expected"),
    [
        ("STRING", ' "as it is"\n', ' "as it is"\n'),
        ("INT", " 42\n", 42),
        ("BOOLEAN", "False", False),
        ("DECIMAL(4,1)", "99.95", Decimal("100.0")),
        ("ARRAY<INT>", "[1,2]", [1, 2]),
        ("ARRAY<INT>", "```json\n[1,2]\n```\n", [1, 2]),
        ("ARRAY<INT>", "```[1]```", [1]),
        ("STRUCT<a: DOUBLE>", '{"a": 1e2}', {"a": 100.0}),
        (
            "STRUCT<a: STRING>",
            '{"a": 123456789012345678901234567890}',
            {"a": "123456789012345678901234567890"},
        ),
        ("STRUCT<a: STRING>", '{"a": {"b": 1234567890123456789.5}}', {"a": '{"b":1234567890123456789.5}'}),
        (
            "STRUCT<a: DECIMAL(38,20)>",
            '{"a": 0.12345678901234567890}',
            {"a": Decimal("0.12345678901234567890")},
        ),
        ("MAP<STRING, BIGINT>", '{"a": 1}', [("a", 1)]),
    ],
)
def test_an_answer_in_words_is_cast(ddl, text, expected):
    assert text_converter(parse_type(ddl))(text) == expected


def test_nan_in_json_is_read_as_from_json_does():
    assert math.isnan(text_converter(parse_type("a DOUBLE"))('{"a": NaN}')["a"])


@pytest.mark.parametrize(
    "text", ["", "Sure! [1]", "[1", '["\\ud800"]', "[" * 100_000, "[1e" + "9" * 30 + "]", "```json\n```"]
)
def test_an_answer_that_is_no_json_is_a_misfit(text):
    with pytest.raises(Misfit, match=r"is not valid JSON|is not a"):
        text_converter(parse_type("ARRAY<STRING>"))(text)


@pytest.mark.parametrize(
    ("ddl", "prediction", "expected"),
    [
        ("DOUBLE", 0.5, 0.5),
        ("DOUBLE", {"score": 0.5}, 0.5),
        ("DOUBLE", [0.5], 0.5),
        ("DOUBLE", [{"score": 0.5}], 0.5),
        ("BOOLEAN", 1, True),
        ("STRING", {"label": "spam"}, "spam"),
        ("ARRAY<DOUBLE>", {"v": [1, 2]}, [1.0, 2.0]),
        ("STRUCT<a: INT, b: INT>", {"a": 1, "b": 2}, {"a": 1, "b": 2}),
        ("MAP<STRING, INT>", {"a": 1}, [("a", 1)]),
    ],
)
def test_a_prediction_of_one_column_is_unwrapped(ddl, prediction, expected):
    assert prediction_converter(parse_type(ddl))(prediction) == expected


@pytest.mark.parametrize(
    ("ddl", "prediction"),
    [
        ("DOUBLE", {"a": 1, "b": 2}),
        ("STRING", {"a": 1, "b": 2}),
        ("DOUBLE", [1, 2]),
        ("ARRAY<INT>", {"a": [], "b": []}),
    ],
)
def test_a_prediction_of_several_columns_does_not_fit_one(ddl, prediction):
    with pytest.raises(TooManyColumns, match=r"2 (columns|values)"):
        prediction_converter(parse_type(ddl))(prediction)


@pytest.mark.parametrize("prediction", [[], {}])
def test_an_empty_prediction_is_a_misfit_but_not_too_many_columns(prediction):
    with pytest.raises(Misfit) as e:
        prediction_converter(parse_type("DOUBLE"))(prediction)
    assert not isinstance(e.value, TooManyColumns)


def test_a_type_outside_sql_has_no_converter():
    with pytest.raises(FunctionError):
        converter(pa.uint8())
