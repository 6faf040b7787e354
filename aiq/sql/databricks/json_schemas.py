"""`schema_of_json`: the type of a JSON text, as Spark infers it."""

from __future__ import annotations

import json
from typing import Any

_ANY = "STRING"


class NumberText(str):
    """A number of a JSON text, as it stands there."""


def schema_of(text: str) -> str | None:
    """`{"a":[1,2.5]}` is `STRUCT<a: ARRAY<DOUBLE>>`; None for a text that is no JSON, or whose names need quoting."""
    try:
        value = json.loads(text, parse_int=NumberText, parse_float=NumberText, parse_constant=_refuse)
        return _named(_of(value))
    except (ValueError, RecursionError):
        return None


def _refuse(word: str) -> Any:
    raise ValueError(word)


def _of(value: Any) -> Any:
    """A type: its name, a list of one type, fields by name; None for null."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, NumberText):
        if not value.lstrip("-").isdigit():
            return "DOUBLE"
        if -(2**63) <= int(value) < 2**63:
            return "BIGINT"
        digits = len(value.lstrip("-"))
        return f"DECIMAL({digits},0)" if digits <= 38 else "DOUBLE"
    if isinstance(value, str):
        return _ANY
    if isinstance(value, list):
        made: Any = None
        for each in value:
            made = _both(made, _of(each))
        return [made]
    return {key: _of(each) for key, each in sorted(value.items())}


def _both(one: Any, other: Any) -> Any:
    """The type of values of two types."""
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: _both(one.get(key), other.get(key)) for key in sorted({*one, *other})}
    if isinstance(one, list) and isinstance(other, list):
        return [_both(one[0], other[0])]
    if type(one) is type(other) and one == other:
        return one
    if isinstance(one, (dict, list)) or isinstance(other, (dict, list)):
        return _ANY
    return "DOUBLE" if {one, other} == {"BIGINT", "DOUBLE"} else _strict(one, other)


def _strict(one: Any, other: Any) -> str:
    """STRING; the rest of Spark's rules, of decimals, is left out."""
    if any(isinstance(each, str) and each.startswith("DECIMAL") for each in (one, other)):
        raise ValueError("decimals among other numbers")
    return _ANY


def _named(kind: Any) -> str:
    if kind is None:
        return _ANY
    if isinstance(kind, list):
        return f"ARRAY<{_named(kind[0])}>"
    if isinstance(kind, dict):
        if any(not (key.isidentifier() and key.isascii()) for key in kind):
            raise ValueError("a name that needs quoting")
        return "STRUCT<" + ", ".join(f"{key}: {_named(each)}" for key, each in kind.items()) + ">"
    return str(kind)
