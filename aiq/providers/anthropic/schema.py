"""JSON schemas as Anthropic's structured outputs take them: a subset, with what is beyond it said in descriptions.

Pure. Source: the Claude API's "Structured outputs", JSON schema limitations. An answer is checked against the schema as
it was asked, so what only a description says is not lost.
"""

from __future__ import annotations

from typing import Any

import orjson

_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)  # fmt: skip
_KEPT = frozenset({"type", "enum", "const", "description", "title", "default", "required"})
_LISTS = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}
_MAPS = frozenset({"properties", "$defs", "definitions"})
_ANNOTATIONS = frozenset({"$schema", "$id", "$comment", "examples"})
_DEEPEST = 64


class _Beyond(Exception):
    """The subset has no words for it."""


def native_schema(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The schema in Anthropic's subset. None where it has keys of any name, any value at all, or refers to itself."""
    try:
        _check_references(schema)
        return _native(schema, 0)
    except (_Beyond, TypeError, AttributeError, KeyError):
        return None


def _native(schema: Any, depth: int) -> dict[str, Any]:
    if not isinstance(schema, dict) or not schema or depth > _DEEPEST:
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
        elif key == "$ref":
            if not value.startswith("#"):
                raise _Beyond
            native[key] = value
        elif (key == "format" and value in _FORMATS) or (key == "minItems" and value in (0, 1)):
            native[key] = value
        elif key != "additionalProperties" and key not in _ANNOTATIONS:
            rest[key] = value
    kind = native.get("type")
    if kind == "object" or "properties" in native or (isinstance(kind, list) and "object" in kind):
        other = schema.get("additionalProperties")
        if isinstance(other, dict) or ("properties" not in native and other is not False):
            raise _Beyond  # keys that nobody knows beforehand
        native["additionalProperties"] = False
    elif kind is None and not native.keys() & {"enum", "const", "anyOf", "allOf", "$ref"}:
        raise _Beyond
    if rest:
        words = orjson.dumps(rest, option=orjson.OPT_SORT_KEYS).decode()
        before = native.get("description")
        native["description"] = f"{before}\n\n{words}" if before else words
    return native


def _check_references(schema: dict[str, Any]) -> None:
    """Raises _Beyond where a reference leads back to where it stands: Anthropic refuses recursion."""
    graph: dict[str, set[str]] = {}
    for place in ("$defs", "definitions"):
        for name, inner in (schema.get(place) or {}).items():
            graph[f"#/{place}/{name}"] = _references(inner)
    own = {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}
    graph["#"] = _references(own)
    done: set[str] = set()

    def visit(node: str, path: frozenset[str]) -> None:
        if node in path or len(path) > _DEEPEST:
            raise _Beyond
        if node not in done:
            for target in graph.get(node, ()):
                visit(target, path | {node})
            done.add(node)

    for node in graph:
        visit(node, frozenset())


def _references(schema: Any) -> set[str]:
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                found.add(value["$ref"])
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found
