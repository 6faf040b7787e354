"""The four forms of `responseFormat`."""

import json

import pytest

from aiq.errors import FunctionError
from aiq.functions.response_format import parse_response_format

ENVELOPE = {"name": "x", "schema": {"type": "object", "properties": {"a": {"pattern": "^a"}}}, "strict": True}


@pytest.mark.parametrize("text", ["text", " TEXT ", '{"type":"text"}'])
def test_plain_text_needs_no_response_format(text):
    assert parse_response_format(text) is None


def test_json_mode_is_passed_on():
    assert parse_response_format(' {"type": "json_object"}') == {"type": "json_object"}


@pytest.mark.parametrize(
    "envelope", [ENVELOPE, {"name": "x", "schema": {}, "strict": None}, {"name": "x", "schema": {}}]
)
def test_a_json_schema_is_passed_on_unchanged(envelope):
    given = {"type": "json_schema", "json_schema": envelope}
    assert parse_response_format(json.dumps(given)) == given


def test_a_ddl_struct_becomes_a_strict_schema_of_its_inner_struct():
    assert parse_response_format("STRUCT<wrapper: STRUCT<a: STRING, b: ARRAY<STRUCT<c: INT>>>>") == {
        "type": "json_schema",
        "json_schema": {
            "name": "wrapper",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {
                    "a": {"type": "string"},
                    "b": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {"c": {"type": "integer"}},
                            "required": ["c"],
                            "additionalProperties": False,
                        },
                    },
                },
                "required": ["a", "b"],
                "additionalProperties": False,
            },
        },
    }


@pytest.mark.parametrize(
    ("sql", "schema"),
    [
        ("TINYINT", {"type": "integer"}),
        ("BIGINT", {"type": "integer"}),
        ("FLOAT", {"type": "number"}),
        ("DECIMAL(10,2)", {"type": "number"}),
        ("BOOLEAN", {"type": "boolean"}),
        ("DATE", {"type": "string"}),
        ("TIMESTAMP", {"type": "string"}),
        ("ARRAY<DOUBLE>", {"type": "array", "items": {"type": "number"}}),
        ("MAP<STRING, INT>", {"type": "object", "additionalProperties": {"type": "integer"}}),
    ],
)
def test_a_sql_type_has_its_json_schema(sql, schema):
    answer = parse_response_format(f"STRUCT<x: STRUCT<f: {sql}>>")
    assert answer["json_schema"]["schema"]["properties"]["f"] == schema


@pytest.mark.parametrize("inner", ["MAP<STRING, INT>", "ARRAY<STRUCT<m: MAP<STRING, INT>>>"])
def test_a_map_makes_the_schema_not_strict(inner):
    assert parse_response_format(f"STRUCT<x: STRUCT<f: {inner}>>")["json_schema"]["strict"] is False


def test_a_column_list_counts_as_the_top_level_struct():
    assert parse_response_format("x STRUCT<a: INT>")["json_schema"]["name"] == "x"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("json", "is not a SQL type|JSON is not supported"),
        ("STRING", "found: StringType"),
        ("STRUCT<a: INT, b: INT, c: INT>", "Only one field is allowed on the top-level, but found 3 fields"),
        (
            "STRUCT<triples: ARRAY<STRING>>",
            "The top-level field `triples` should be StructType, but found: ArrayType",
        ),
        ("STRUCT<n: BIGINT>", "but found: LongType"),
        ("STRUCT<n: DECIMAL(5,1)>", "but found: DecimalType"),
        ("STRUCT<`my answer`: STRUCT<a: INT>>", "needs a name of 1 to 64"),
        ("STRUCT<x: STRUCT<a: StringType>>", "perhaps you mean STRING"),
    ],
)
def test_a_ddl_that_is_no_wrapped_struct_is_refused(text, said):
    with pytest.raises(FunctionError, match=said) as e:
        parse_response_format(text)
    assert e.value.condition == "AI_FUNCTION_UNSUPPORTED_RESPONSE_FORMAT.DDL_STRING"
    assert e.value.sqlstate == "0A000"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"type":', "is not valid JSON"),
        ("[1]", "must be a JSON object"),
        ('"text"', "must be a JSON object"),
        ("{" * 5 + '"a"', "is not valid JSON"),
        ('{"type":"object","properties":{}}', "a bare JSON schema needs its envelope"),
        ('{"properties":{}}', "a bare JSON schema needs its envelope"),
        ('{"type":"json"}', '"type" must be'),
        ('{"type":["text"]}', '"type" must be'),
        ("{}", '"type" must be'),
        ('{"type":"json_schema"}', '"json_schema" must be an object'),
        ('{"type":"json_schema","json_schema":{"schema":{}}}', "json_schema.name. is missing"),
        ('{"type":"json_schema","json_schema":{"name":"a b","schema":{}}}', "json_schema.name. is .a b."),
        ('{"type":"json_schema","json_schema":{"name":"a\\n","schema":{}}}', "json_schema.name. is"),
        ('{"type":"json_schema","json_schema":{"name":"a","schema":true}}', "json_schema.schema. must be"),
        ('{"type":"json_schema","json_schema":{"name":"a","schema":{},"strict":"yes"}}', "true or false"),
    ],
)
def test_a_json_form_without_a_valid_envelope_is_refused(text, said):
    with pytest.raises(FunctionError, match=said) as e:
        parse_response_format(text)
    assert e.value.condition == "AI_FUNCTION_UNSUPPORTED_RESPONSE_FORMAT.JSON_STRING"
