"""Whether a `response_format` is one the vendor would accept. Knows no other parameter.

Source: OpenAI's guide to structured outputs (strict mode: closed objects with every property required).
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from aiq.simulator.refusal import Refusal, wrong_type
from aiq.simulator.schema import is_well_typed

_TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}
_accepted: set[bytes] = set()
_ACCEPTED_LIMIT = 1024


def check_response_format(param: str, value: Any) -> None:
    """Refuse (400) a malformed `response_format`.

    A statement sends the same schema with every row, so an accepted one is remembered.
    """
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)
    kind = value.get("type")
    if kind in ("text", "json_object"):
        return
    if kind != "json_schema":
        raise Refusal(
            400,
            f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', and 'text'.",
            param=f"{param}.type",
            code="invalid_value",
        )
    text = orjson.dumps(value)
    if text in _accepted:
        return
    _check_json_schema(param, value.get("json_schema"))
    if len(_accepted) >= _ACCEPTED_LIMIT:
        _accepted.clear()
    _accepted.add(text)


def _check_json_schema(param: str, value: Any) -> None:
    name = f"{param}.json_schema"
    if not isinstance(value, dict):
        raise Refusal(400, f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    for field in value:
        if field not in ("name", "schema", "strict", "description"):
            raise Refusal(
                400,
                f"Unknown parameter: '{name}.{field}'.",
                param=f"{name}.{field}",
                code="unknown_parameter",
            )
    for field in ("name", "schema"):
        if field not in value:
            raise Refusal(
                400,
                f"Missing required parameter: '{name}.{field}'.",
                param=f"{name}.{field}",
                code="missing_required_parameter",
            )
    title = value["name"]
    if not isinstance(title, str) or not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", title):
        raise Refusal(
            400,
            f"Invalid '{name}.name': expected 1 to 64 letters, digits, underscores or dashes.",
            param=f"{name}.name",
            code="invalid_value",
        )
    strict = value.get("strict")
    if strict is not None and not isinstance(strict, bool):
        raise wrong_type(f"{name}.strict", "a boolean", strict)
    schema = value["schema"]
    if not isinstance(schema, dict):
        raise wrong_type(f"{name}.schema", "an object", schema)
    if strict and schema.get("type") != "object":
        raise _bad_schema(title, (), f"schema must be a JSON Schema of 'type: \"object\"', got {schema.get('type')!r}")
    check_schema(schema, title, (), bool(strict))


def check_schema(schema: Any, title: str, path: tuple[str, ...], strict: bool) -> None:
    """Refuse (400) what is no JSON schema, or none that strict mode takes. `path` leads to it, `title` names it."""
    if not isinstance(schema, dict):
        raise _bad_schema(title, path, f"{schema!r} is not of type 'object'")
    kinds = schema.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if not isinstance(kind, str) or kind not in _TYPES:
            raise _bad_schema(title, path, f"{kind!r} is not a valid type")
    for keyword, value in schema.items():
        if not is_well_typed(keyword, value):
            raise _bad_schema(title, path, f"{value!r} is not a valid value of '{keyword}'")
    properties = schema.get("properties", {})
    if strict and (kinds == "object" or "object" in kinds or properties):
        if schema.get("additionalProperties") is not False:
            raise _bad_schema(title, path, "'additionalProperties' is required to be supplied and to be false.")
        if missing := [name for name in properties if name not in schema.get("required", [])]:
            raise _bad_schema(
                title,
                path,
                "'required' is required to be supplied and to be an array including every key in properties. "
                f"Missing '{missing[0]}'.",
            )
    for name, child in properties.items():
        check_schema(child, title, (*path, "properties", name), strict)
    if strict and kinds == "array" and "items" not in schema:
        raise _bad_schema(title, path, "array schema missing items.")
    if isinstance(schema.get("items"), dict):
        check_schema(schema["items"], title, (*path, "items"), strict)
    for keyword in ("anyOf", "oneOf", "allOf"):
        for i, child in enumerate(schema.get(keyword, ())):
            check_schema(child, title, (*path, keyword, str(i)), strict)
    for name, child in schema.get("$defs", {}).items():
        check_schema(child, title, (*path, "$defs", name), strict)


def _bad_schema(title: str, path: tuple[str, ...], reason: str) -> Refusal:
    return Refusal(
        400,
        f"Invalid schema for response_format '{title}': In context={path!r}, {reason}",
        param="response_format",
        code="invalid_json_schema",
    )
