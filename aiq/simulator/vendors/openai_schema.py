"""Whether a `response_format` is one the vendor would accept. Knows no other parameter.

Source: OpenAI's guide to structured outputs (strict mode: closed objects with every property required).
"""

from __future__ import annotations

import re
from typing import Any

from aiq.simulator.checks import Check, anything, remembered
from aiq.simulator.refusal import VendorError
from aiq.simulator.schema import is_well_typed
from aiq.simulator.vendors.openai_checks import boolean, check_all, invalid, missing, object_

_TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}
_KINDS = ("json_object", "json_schema", "text")
_TITLE = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@remembered
def check_response_format(param: str, value: Any) -> None:
    """Refuse (400) a malformed `response_format`."""
    object_(param, value)
    kind = value.get("type")
    if kind not in _KINDS:
        words = f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', and 'text'."
        raise invalid(f"{param}.type", words)
    if kind == "json_schema":
        _check_json_schema(f"{param}.json_schema", value.get("json_schema"))


def _title(param: str, value: Any) -> None:
    if not isinstance(value, str) or not _TITLE.fullmatch(value):
        raise invalid(param, f"Invalid '{param}': expected 1 to 64 letters, digits, underscores or dashes.")


_JSON_SCHEMA: dict[str, Check] = {"name": _title, "schema": object_, "strict": boolean, "description": anything}


def _check_json_schema(param: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise missing(param)
    check_all(value, _JSON_SCHEMA, "name", "schema", of=f"{param}.")
    title, schema, strict = value["name"], value["schema"], bool(value.get("strict"))
    if strict and schema.get("type") != "object":
        raise _bad_schema(title, (), f"schema must be a JSON Schema of 'type: \"object\"', got {schema.get('type')!r}")
    check_schema(schema, title, (), strict)


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


def _bad_schema(title: str, path: tuple[str, ...], reason: str) -> VendorError:
    return VendorError(
        400,
        f"Invalid schema for response_format '{title}': In context={path!r}, {reason}",
        param="response_format",
        code="invalid_json_schema",
    )
