"""Type texts: read, spelled again, inferred from a sample."""

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.errors import FunctionError
from aiq.functions.types import ddl, duckdb_type, infer_type_of_json, parse_type

TIMESTAMP, TIMESTAMP_NTZ = pa.timestamp("us", tz="UTC"), pa.timestamp("us")

SCALARS = [
    pa.string(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(),
    pa.date32(), TIMESTAMP, TIMESTAMP_NTZ, pa.binary(), pa.decimal128(10, 2), pa.decimal128(38, 38),
]  # fmt: skip
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


def structs(types):
    fields = st.lists(st.tuples(names, types), min_size=1, max_size=4, unique_by=lambda f: f[0].lower())
    return fields.map(pa.struct)


types = st.recursive(
    st.sampled_from(SCALARS),
    lambda t: st.one_of(t.map(pa.list_), structs(t), st.builds(pa.map_, st.sampled_from(SCALARS), t)),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("STRING", pa.string()),
        ("varchar(20)", pa.string()),
        ("text", pa.string()),
        ("TINYINT", pa.int8()),
        ("long", pa.int64()),
        ("INTEGER", pa.int32()),
        ("REAL", pa.float32()),
        ("DOUBLE PRECISION", pa.float64()),
        ("DECIMAL", pa.decimal128(10, 0)),
        ("decimal( 12 , 3 )", pa.decimal128(12, 3)),
        ("TIMESTAMP", TIMESTAMP),
        ("TIMESTAMP WITH TIME ZONE", TIMESTAMP),
        ("timestamp without time zone", TIMESTAMP_NTZ),
        ("TIMESTAMP_NTZ", TIMESTAMP_NTZ),
        ("BLOB", pa.binary()),
        ("ARRAY<FLOAT>", pa.list_(pa.float32())),
        ("INT[][]", pa.list_(pa.list_(pa.int32()))),
        ("MAP<STRING,ARRAY<INT>>", pa.map_(pa.string(), pa.list_(pa.int32()))),
        ("MAP(VARCHAR, INTEGER)", pa.map_(pa.string(), pa.int32())),
        ("STRUCT<a: STRING, b DOUBLE>", pa.struct([("a", pa.string()), ("b", pa.float64())])),
        ('STRUCT("b ""c""" INTEGER[])', pa.struct([('b "c"', pa.list_(pa.int32()))])),
        ("STRUCT<`a b`: INT NOT NULL COMMENT 'it''s, ok'>", pa.struct([("a b", pa.int32())])),
        ("a STRING, b DOUBLE", pa.struct([("a", pa.string()), ("b", pa.float64())])),
        ("date DATE", pa.struct([("date", pa.date32())])),
        ("a: STRUCT<b: INT>", pa.struct([("a", pa.struct([("b", pa.int32())]))])),
    ],
)  # fmt: skip
def test_both_spellings_of_a_type_are_read(text, expected):
    assert parse_type(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("StringType", "perhaps you mean STRING"),
        ("IntegerType()", "perhaps you mean INT"),
        ("DOUBEL", "perhaps you mean DOUBLE"),
        ("a STRING, b LongType", "perhaps you mean BIGINT"),
        ("VARIANT", "use a type such as STRING"),
        ("void", "VOID is not supported"),
        ("INTERVAL", "INTERVAL is not supported"),
        ("", "it is empty"),
        ("ARRAY", "ARRAY<...>"),
        ("ARRAY<INT", "'>' is missing"),
        ("ARRAY<INT>>", "unexpected '>'"),
        ("STRUCT<>", "a field name is expected"),
        ("STRUCT<a>", "a type is expected"),
        ("STRUCT<a: INT, A: INT>", "there twice"),
        ("STRUCT<a INT; b INT>", "unexpected"),
        ("MAP<STRING>", "expected ','"),
        ("MAP<ARRAY<INT>, INT>", "key must be a scalar"),
        ("DECIMAL(39,0)", "1 to 38"),
        ("DECIMAL(x)", "whole number"),
        ("FLOAT[3]", "write T[]"),
        ("ARRAY<" * 100 + "INT" + ">" * 100, "nested deeper"),
        ("INT" + "[]" * 100, "nested deeper"),
    ],
)
def test_an_unknown_type_is_refused_with_a_hint(text, said):
    with pytest.raises(FunctionError) as e:
        parse_type(text)
    assert e.value.condition == "AI_FUNCTION_UNSUPPORTED_RETURN_TYPE"
    assert said in str(e.value)
    assert len(str(e.value)) < 300


@settings(deadline=None)
@given(types)
def test_a_type_spelled_as_ddl_is_read_back_as_itself(t):
    assert parse_type(ddl(t)) == t


@settings(deadline=None)
@given(st.text(alphabet="STRINGINTa<>()[]:,`\"' 0", max_size=30))
def test_any_text_is_a_type_or_a_function_error(text):
    try:
        parse_type(text)
    except FunctionError as e:
        assert e.condition == "AI_FUNCTION_UNSUPPORTED_RETURN_TYPE"


@settings(deadline=None)
@given(structs(types))
def test_duckdb_knows_the_type_it_is_told(t):
    column = duckdb.sql(f"SELECT NULL::{duckdb_type(t)} AS x").types[0]
    assert [name for name, _ in column.children] == [f.name for f in t]


@pytest.mark.parametrize("t", SCALARS)
def test_duckdb_gives_back_the_scalar_type_it_is_told(t):
    arrow = duckdb.sql(f"SELECT NULL::{duckdb_type(t)} AS x").to_arrow_table().schema.field("x").type
    assert (arrow.tz is not None) == (t.tz is not None) if pa.types.is_timestamp(t) else arrow == t


def test_a_type_without_sql_name_is_refused():
    with pytest.raises(FunctionError, match="uint8"):
        duckdb_type(pa.list_(pa.uint8()))


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("1", "BIGINT"),
        ("1.5", "DOUBLE"),
        ('"x"', "STRING"),
        ("null", "STRING"),
        ("true", "BOOLEAN"),
        ("123456789012345678901", "DECIMAL(21,0)"),
        ("1" * 40, "DOUBLE"),
        ("[]", "ARRAY<STRING>"),
        ("[1, 2.5, null]", "ARRAY<DOUBLE>"),
        ("[1, 123456789012345678901]", "ARRAY<DECIMAL(21,0)>"),
        ('[1, "x"]', "ARRAY<STRING>"),
        ("[true, 1]", "ARRAY<STRING>"),
        ("[[1], []]", "ARRAY<ARRAY<BIGINT>>"),
        ('[{"a": 1}, {"b": "x", "a": 0.5}]', "ARRAY<STRUCT<a: DOUBLE, b: STRING>>"),
        (
            '{"b": 1, "a": {"z": "", "y": null}, "e": {}}',
            "STRUCT<a: STRUCT<y: STRING, z: STRING>, b: BIGINT>",
        ),
    ],
)
def test_a_sample_gives_the_type_that_spark_gives(sample, expected):
    assert ddl(infer_type_of_json(sample)) == expected


@pytest.mark.parametrize("sample", ["", "{", "{}", "[{}]", '{"": 1}', '{"a": 1, "A": 2}', "[" * 100_000])
def test_a_sample_without_a_type_is_refused(sample):
    with pytest.raises(FunctionError, match="schema_of_json"):
        infer_type_of_json(sample)
