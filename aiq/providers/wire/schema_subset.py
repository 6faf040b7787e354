"""JSON schemas in the subset of JSON Schema that a vendor takes, with what is beyond it said in descriptions. Pure.

An answer is checked against the schema as it was asked, so what only a description says is not lost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

DEEPEST = 64
_MAPS = frozenset({"properties", "$defs", "definitions"})
_ANNOTATIONS = frozenset({"$schema", "$id", "$comment", "examples"})


class BeyondSubset(Exception):
    """The subset has no words for a schema."""


class SchemaSubset(ABC):
    """What all vendors take of a schema; a vendor's class says the rest.

    `{"type": "integer", "minimum": 1}` becomes `{"type": "integer", "description": '{"minimum":1}'}`.
    """

    kept: frozenset[str]
    """Keywords that are accepted whatever their value is."""
    lists: ClassVar[Mapping[str, str]]
    """Keywords of a list of schemas, with the keyword that says it in the subset."""

    def native(self, schema: dict[str, Any]) -> dict[str, Any] | None:
        """The schema in the subset, None where the subset has no words for it."""
        try:
            return self._convert(schema, 0)
        except (BeyondSubset, TypeError, AttributeError, KeyError):
            return None

    def _convert(self, schema: Any, depth: int) -> dict[str, Any]:
        if not isinstance(schema, dict) or depth > DEEPEST:
            raise BeyondSubset
        native: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for key, value in schema.items():
            if key in self.kept:
                native[key] = value
            elif key in _MAPS:
                native[key] = {name: self._convert(inner, depth + 1) for name, inner in value.items()}
            elif key == "items":
                native[key] = self._convert(value, depth + 1)
            elif key in self.lists:
                native[self.lists[key]] = [self._convert(inner, depth + 1) for inner in value]
            elif key not in _ANNOTATIONS and not self._take(native, key, value, depth):
                rest[key] = value
        self._check(schema, native)
        if rest:
            words = orjson.dumps(rest, option=orjson.OPT_SORT_KEYS).decode()
            before = native.get("description")
            native["description"] = f"{before}\n\n{words}" if before else words
        return native

    @abstractmethod
    def _take(self, native: dict[str, Any], key: str, value: Any, depth: int) -> bool:
        """Takes one of the vendor's own keywords into `native`; False where a description has to say it."""

    @abstractmethod
    def _check(self, schema: dict[str, Any], native: dict[str, Any]) -> None:
        """Completes one level. Raises BeyondSubset for a schema that the vendor refuses."""
