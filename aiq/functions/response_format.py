"""The `responseFormat` argument of `ai_query`: its four forms to OpenAI's `response_format` object.

Checks the envelope only: whether a schema suits a model is for its provider to say. Must never know either.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pyarrow as pa

from aiq.errors import FunctionError
from aiq.functions.types import ddl, parse_type, shorten

_CONDITION = "AI_FUNCTION_UNSUPPORTED_RESPONSE_FORMAT"
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ENVELOPE = '{"type":"json_schema","json_schema":{"name":"answer","strict":true,"schema":{...}}}'
_FORMS = f"""'text', '{{"type":"json_object"}}', '{_ENVELOPE}' or 'STRUCT<answer: STRUCT<a: STRING>>'"""


def parse_response_format(text: str) -> dict[str, Any] | None:
    """OpenAI's `response_format` for one of: text, JSON mode, an enveloped JSON schema, or a DDL struct.

    None for plain text. `STRUCT<x: STRUCT<...>>` becomes a strict JSON schema of the inner struct, named x;
    with a MAP inside it is not strict, as strict schemas must name every key. JSON schemas pass unchanged.

    Raises FunctionError AI_FUNCTION_UNSUPPORTED_RESPONSE_FORMAT.DDL_STRING or .JSON_STRING.
    """
    text = text.strip()
    if not text:
        raise FunctionError(f"{_CONDITION}.DDL_STRING", f"responseFormat is empty. Write {_FORMS}.")
    if text.lower() == "text":
        return None
    return _from_json(text) if text[0] in '{["' else _from_ddl(text)


def _from_json(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise _json_error(text, f"it is not valid JSON ({e})") from None
    if not isinstance(value, dict):
        raise _json_error(text, f"it must be a JSON object. Write {_FORMS}")
    match value.get("type"):
        case "text":
            return None
        case "json_object":
            return {"type": "json_object"}
        case "json_schema":
            return {"type": "json_schema", "json_schema": _envelope(text, value.get("json_schema"))}
    if {"type", "properties", "$schema", "anyOf", "$ref"} & value.keys() and value.get("type", "object") == "object":
        raise _json_error(text, f"a bare JSON schema needs its envelope: {_ENVELOPE}")
    raise _json_error(text, f'"type" must be text, json_object or json_schema. Write {_FORMS}')


def _envelope(text: str, envelope: Any) -> dict[str, Any]:
    if not isinstance(envelope, dict):
        raise _json_error(text, f'"json_schema" must be an object with a name and a schema: {_ENVELOPE}')
    name = envelope.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        found = "is missing" if name is None else f"is {shorten(json.dumps(name), 40)}"
        raise _json_error(text, f'"json_schema.name" {found}; write 1 to 64 of the characters a-z A-Z 0-9 _ -')
    if not isinstance(envelope.get("schema"), dict):
        raise _json_error(text, f'"json_schema.schema" must be a JSON schema, an object: {_ENVELOPE}')
    if not isinstance(envelope.get("strict"), bool | None):
        raise _json_error(text, '"json_schema.strict" must be true or false')
    return envelope


def _json_error(text: str, reason: str) -> FunctionError:
    return FunctionError(f"{_CONDITION}.JSON_STRING", f"responseFormat {shorten(text)!r}: {reason}.")


def _from_ddl(text: str) -> dict[str, Any]:
    condition = f"{_CONDITION}.DDL_STRING"

    def error(reason: str) -> FunctionError:
        return FunctionError(condition, f"responseFormat {shorten(text)!r}: {reason}.")

    t = parse_type(text, condition=condition)
    if not pa.types.is_struct(t):
        raise error(f"The top-level type should be StructType, but found: {_spark_name(t)}")
    if t.num_fields != 1:
        reason = f"Only one field is allowed on the top-level, but found {t.num_fields} fields"
        raise error(f"{reason}. Wrap them: STRUCT<answer: STRUCT<...>>")
    top = t.field(0)
    if not pa.types.is_struct(top.type):
        raise error(f"The top-level field `{top.name}` should be StructType, but found: {_spark_name(top.type)}")
    if not _NAME.fullmatch(top.name):
        raise error(f"The top-level field `{shorten(top.name, 70)}` needs a name of 1 to 64 of a-z A-Z 0-9 _ -")
    strict = not _has_map(top.type)
    return {
        "type": "json_schema",
        "json_schema": {"name": top.name, "strict": strict, "schema": json_schema(top.type)},
    }


def json_schema(t: pa.DataType) -> dict[str, Any]:
    """The JSON schema of a type: every struct field required, no other keys; dates and times as strings."""
    if pa.types.is_struct(t):
        return {
            "type": "object",
            "properties": {f.name: json_schema(f.type) for f in t},
            "required": [f.name for f in t],
            "additionalProperties": False,
        }
    if pa.types.is_map(t):
        return {"type": "object", "additionalProperties": json_schema(t.item_type)}
    if pa.types.is_list(t):
        return {"type": "array", "items": json_schema(t.value_type)}
    if pa.types.is_boolean(t):
        return {"type": "boolean"}
    if pa.types.is_integer(t):
        return {"type": "integer"}
    if pa.types.is_floating(t) or pa.types.is_decimal(t):
        return {"type": "number"}
    return {"type": "string"}


def _has_map(t: pa.DataType) -> bool:
    if pa.types.is_struct(t):
        return any(_has_map(f.type) for f in t)
    return pa.types.is_map(t) or (pa.types.is_list(t) and _has_map(t.value_type))


def _spark_name(t: pa.DataType) -> str:
    """Spark's class name of a type, as its own message has it: ArrayType, StringType, LongType."""
    word = re.split(r"\W", ddl(t))[0]
    known = {
        "INT": "Integer",
        "BIGINT": "Long",
        "SMALLINT": "Short",
        "TINYINT": "Byte",
        "TIMESTAMP_NTZ": "TimestampNTZ",
    }
    return known.get(word, word.capitalize()) + "Type"
