"""JSON schemas as Anthropic's structured outputs take them.

Pure. Source: the Claude API's "Structured outputs", JSON schema limitations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from aiq.providers.wire.schema_subset import DEEPEST, BeyondSubset, SchemaSubset

_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)  # fmt: skip


class _AnthropicSubset(SchemaSubset):
    kept = frozenset({"type", "enum", "const", "description", "title", "default", "required"})
    lists: ClassVar[Mapping[str, str]] = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}

    def _take(self, native: dict[str, Any], key: str, value: Any, depth: int) -> bool:
        if key == "additionalProperties":  # as _check says
            return True
        if key == "$ref":
            if not value.startswith("#"):
                raise BeyondSubset
        elif not ((key == "format" and value in _FORMATS) or (key == "minItems" and value in (0, 1))):
            return False
        native[key] = value
        return True

    def _check(self, schema: dict[str, Any], native: dict[str, Any]) -> None:
        if not schema:
            raise BeyondSubset
        kind = native.get("type")
        if kind == "object" or "properties" in native or (isinstance(kind, list) and "object" in kind):
            other = schema.get("additionalProperties")
            if isinstance(other, dict) or ("properties" not in native and other is not False):
                raise BeyondSubset  # keys that are not known beforehand
            native["additionalProperties"] = False
        elif kind is None and not native.keys() & {"enum", "const", "anyOf", "allOf", "$ref"}:
            raise BeyondSubset


_SUBSET = _AnthropicSubset()


def native_schema(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The schema in Anthropic's subset. None where it has keys of any name, any value at all, or refers to itself."""
    try:
        _check_references(schema)
    except (BeyondSubset, TypeError, AttributeError, KeyError):
        return None
    return _SUBSET.native(schema)


def _check_references(schema: dict[str, Any]) -> None:
    """Raises BeyondSubset where a reference leads back to where it stands: Anthropic refuses recursion."""
    graph: dict[str, set[str]] = {}
    for place in ("$defs", "definitions"):
        for name, inner in (schema.get(place) or {}).items():
            graph[f"#/{place}/{name}"] = _references(inner)
    own = {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}
    graph["#"] = _references(own)
    done: set[str] = set()

    def visit(node: str, path: frozenset[str]) -> None:
        if node in path or len(path) > DEEPEST:
            raise BeyondSubset
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
