"""JSON schemas as Cohere's structured outputs take them: a subset, with what is beyond it said in descriptions.

Pure. Source: Cohere's guide "Structured Outputs" (schema constraints, supported and unsupported features). An answer is
checked against the schema as it was asked, so what only a description says is not lost.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import orjson

_KEPT = frozenset({"type", "enum", "const", "description", "title", "default", "required", "$ref"})
_MAPS = frozenset({"properties", "$defs", "definitions"})
_LISTS = {"anyOf": "anyOf", "oneOf": "anyOf"}
_ANNOTATIONS = frozenset({"$schema", "$id", "$comment", "examples"})
_FORMATS = frozenset({"date-time", "uuid", "date", "time"})
_NO_PATTERN = re.compile(r"[\^$]|\?[=!]")
_DEEPEST = 64


class _Beyond(Exception):
    """The subset has no words for it."""


def native_schema(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The schema in Cohere's subset; None where it has none: an object without a required key, `allOf`, `not`."""
    return _native_of(orjson.dumps(schema))


@lru_cache(maxsize=256)
def _native_of(text: bytes) -> dict[str, Any] | None:
    schema = orjson.loads(text)
    try:
        return _native(schema, 0) if schema.get("type") == "object" else None
    except (_Beyond, TypeError, AttributeError, KeyError):
        return None


def _native(schema: Any, depth: int) -> dict[str, Any]:
    if not isinstance(schema, dict) or depth > _DEEPEST:
        raise _Beyond
    native: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _KEPT:
            native[key] = value
        elif key in _MAPS:
            native[key] = {name: _native(inner, depth + 1) for name, inner in value.items()}
        elif key == "items":
            native[key] = _native(value, depth + 1)
        elif key in _LISTS:
            native[_LISTS[key]] = [_native(inner, depth + 1) for inner in value]
        elif key == "additionalProperties":
            native[key] = _native(value, depth + 1) if isinstance(value, dict) else value
        elif (key == "format" and value in _FORMATS) or (key == "pattern" and not _NO_PATTERN.search(value)):
            native[key] = value
        elif key in ("allOf", "not"):
            raise _Beyond
        elif key not in _ANNOTATIONS:
            rest[key] = value
    if (native.get("type") == "object" or "properties" in native) and not native.get("required"):
        raise _Beyond
    if rest:
        words = orjson.dumps(rest, option=orjson.OPT_SORT_KEYS).decode()
        before = native.get("description")
        native["description"] = f"{before}\n\n{words}" if before else words
    return native
