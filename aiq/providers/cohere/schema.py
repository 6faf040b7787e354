"""JSON schemas as Cohere's structured outputs take them.

Pure. Source: Cohere's guide "Structured Outputs" (schema constraints, supported and unsupported features).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import orjson

from aiq.providers.wire.schema_subset import BeyondSubset, SchemaSubset

_FORMATS = frozenset({"date-time", "uuid", "date", "time"})
_NO_PATTERN = re.compile(r"[\^$]|\?[=!]")


class _CohereSubset(SchemaSubset):
    kept = frozenset({"type", "enum", "const", "description", "title", "default", "required", "$ref"})
    lists: ClassVar[Mapping[str, str]] = {"anyOf": "anyOf", "oneOf": "anyOf"}

    def _take(self, native: dict[str, Any], key: str, value: Any, depth: int) -> bool:
        if key in ("allOf", "not"):
            raise BeyondSubset
        if key == "additionalProperties":
            native[key] = self._convert(value, depth + 1) if isinstance(value, dict) else value
        elif (key == "format" and value in _FORMATS) or (key == "pattern" and not _NO_PATTERN.search(value)):
            native[key] = value
        else:
            return False
        return True

    def _check(self, schema: dict[str, Any], native: dict[str, Any]) -> None:
        if (native.get("type") == "object" or "properties" in native) and not native.get("required"):
            raise BeyondSubset


_SUBSET = _CohereSubset()


def native_schema(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The schema in Cohere's subset; None where it has none: an object without a required key, `allOf`, `not`."""
    return _native_of(orjson.dumps(schema))


@lru_cache(maxsize=256)
def _native_of(text: bytes) -> dict[str, Any] | None:
    schema = orjson.loads(text)
    return _SUBSET.native(schema) if schema.get("type") == "object" else None
