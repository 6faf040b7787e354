"""JSON as providers send it, which is not always JSON: a byte order mark, NaN, halves of characters. Pure."""

from __future__ import annotations

import codecs
import json
from typing import Any

import orjson


def read_json(body: bytes) -> Any:
    """The value of a body. Raises ValueError where it is none.

    NaN and infinite numbers become NULL, half a character (a lone surrogate, a byte that is no UTF-8) the replacement
    character, so that what is read can be written again.
    """
    try:
        return orjson.loads(body)
    except ValueError:
        text = bytes(body).removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
        try:
            return _clean(json.loads(text, parse_constant=lambda name: None))
        except RecursionError:
            raise ValueError("nested too deep") from None


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(name): _clean(item) for name, item in value.items()}
    if type(value) is int and not -(2**63) <= value < 2**64:
        return float(value) if abs(value) < 1e300 else None
    return None if type(value) is float and value - value != 0 else value
