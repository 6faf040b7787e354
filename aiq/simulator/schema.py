"""Values that conform to a JSON schema, the same for the same seed. Knows no route and no prompt.

Covers what structured output allows: types and type lists, enum, const, anyOf, oneOf, allOf, local $ref,
bounds of numbers, texts and arrays, and the common formats. `pattern` is not honoured.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

_DEPTH = 6
_LARGEST = 100_000
"""Items and characters that are made at most, whatever is asked for."""
_FORMATS = {
    "date": "2024-01-{:02d}",
    "date-time": "2024-01-{:02d}T12:00:00Z",
    "time": "12:00:{:02d}Z",
    "email": "simulated{:d}@example.com",
    "uuid": "00000000-0000-4000-8000-0000000000{:02d}",
    "uri": "https://example.com/simulated/{:d}",
    "hostname": "simulated{:d}.example.com",
    "ipv4": "192.0.2.{:d}",
    "duration": "P{:d}D",
}
_NUMERIC = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")


def conforming(schema: Mapping[str, Any], seed: int) -> Any:
    """A JSON value that `schema` accepts, derived from `seed` and the place in the schema.

    Of a malformed schema the keywords that make no sense are left out, as a vendor may have let it pass.
    """
    try:
        sane = _sane(schema)
        return _value(sane, sane, seed, "value", 0)
    except RecursionError:  # a schema that is its own part
        return {}


_NUMBER = (int, float)
KEYWORD_TYPES: dict[str, tuple[type, ...]] = {
    "properties": (dict,),
    "$defs": (dict,),
    "$ref": (str,),
    "required": (list,),
    "enum": (list,),
    "anyOf": (list,),
    "oneOf": (list,),
    "allOf": (list,),
    "items": (dict, bool),
    "additionalProperties": (dict, bool),
    "format": (str,),
    "pattern": (str,),
    **dict.fromkeys((*_NUMERIC, "minLength", "maxLength", "minItems", "maxItems"), _NUMBER),
}
"""What values the keywords may have, by JSON schema's metaschema."""


def is_well_typed(keyword: str, value: Any) -> bool:
    """Whether a keyword may have this value, as far as types tell."""
    types = KEYWORD_TYPES.get(keyword)
    if keyword == "type":
        return all(isinstance(kind, str) for kind in (value if isinstance(value, list) else [value]))
    return types is None or (isinstance(value, types) and not (types is _NUMBER and isinstance(value, bool)))


def _sane(schema: Any) -> Any:
    """A schema without the keywords whose values make no sense."""
    if not isinstance(schema, dict):
        return {}
    kept = {name: value for name, value in schema.items() if is_well_typed(name, value)}
    for name, value in kept.items():
        if name in ("properties", "$defs"):
            kept[name] = {key: _sane(child) for key, child in value.items()}
        elif name in ("anyOf", "oneOf", "allOf"):
            kept[name] = [_sane(child) for child in value]
        elif name == "items":
            kept[name] = _sane(value)
    return kept


def violating(schema: Mapping[str, Any], seed: int) -> Any:
    """A JSON value that looks like one `conforming` makes, and that `schema` does not accept: one thing is wrong."""
    value = conforming(schema, seed)
    sane = _sane(schema)
    resolved = _resolved(sane, sane)
    if isinstance(value, dict) and value:
        required = [name for name in resolved.get("required", ()) if name in value]
        if required:
            del value[required[seed % len(required)]]
            return value
        if resolved.get("additionalProperties") is False:
            return {**value, "unexpected": True}
        name = next(iter(value))
        return {**value, name: "unexpected" if isinstance(value[name], dict) else {"unexpected": True}}
    return {"unexpected": True} if not isinstance(value, dict) else ["unexpected"]


def _value(schema: Any, root: Mapping[str, Any], seed: int, name: str, depth: int) -> Any:
    if not isinstance(schema, Mapping):
        return None
    schema = _resolved(schema, root)
    draw = zlib.crc32(name.encode(), seed & 0xFFFFFFFF)
    if "const" in schema:
        return schema["const"]
    if options := schema.get("enum"):
        return options[draw % len(options)]
    for keyword in ("anyOf", "oneOf"):
        if branches := schema.get(keyword):
            # Deep inside a recursive schema only a branch that ends does.
            branch = _shallowest(branches, root) if depth >= _DEPTH else branches[draw % len(branches)]
            return _value({**schema, keyword: None, **_resolved(branch, root)}, root, seed, name, depth)
    kind = _kind(schema, draw, depth)
    if kind == "object":
        return _object(schema, root, seed, name, depth)
    if kind == "array":
        return _array(schema, root, seed, name, depth, draw)
    if kind == "string":
        return _text(schema, name, draw)
    if kind == "integer":
        return _number(schema, draw, 1)
    if kind == "number":
        return _number(schema, draw, 0)
    return draw % 2 == 0 if kind == "boolean" else None


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema with its local `$ref` followed and its `allOf` merged."""
    for _ in range(32):
        ref = schema.get("$ref")
        if not isinstance(ref, str) or not ref.startswith("#"):
            break
        target: Any = root
        for step in ref[1:].split("/")[1:]:
            target = target.get(step, {}) if isinstance(target, Mapping) else {}
        schema = {**{k: v for k, v in schema.items() if k != "$ref"}, **target}
    for part in schema.get("allOf") or ():
        part = _resolved(part, root)
        merged = {**{k: v for k, v in schema.items() if k != "allOf"}, **part}
        merged["properties"] = {**schema.get("properties", {}), **part.get("properties", {})}
        merged["required"] = [*schema.get("required", []), *part.get("required", [])]
        schema = merged if merged["properties"] else {**merged, "properties": {}}
    return schema


def _shallowest(branches: list[Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    nested = ("object", "array")
    flat = [b for b in branches if isinstance(b, Mapping) and "$ref" not in b and b.get("type") not in nested]
    branch = next(iter(flat), branches[0])
    return branch if isinstance(branch, Mapping) else {}


def _kind(schema: Mapping[str, Any], draw: int, depth: int) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kinds = [k for k in kind if k != "null"]
        # A nullable value is null one time in eight, so that a demo reads sensibly and still meets nulls.
        if not kinds or (len(kinds) < len(kind) and (depth >= _DEPTH or draw % 8 == 7)):
            return "null"
        return str(kinds[draw % len(kinds)])
    if kind is None:
        if schema.get("properties"):
            return "object"
        if "items" in schema:
            return "array"
        return "number" if any(key in schema for key in _NUMERIC) else "string"
    return str(kind)


def _object(schema: Mapping[str, Any], root: Mapping[str, Any], seed: int, path: str, depth: int) -> dict[str, Any]:
    required = [name for name in schema.get("required", ()) if isinstance(name, str)]
    properties = dict(schema.get("properties", {}))
    if depth >= _DEPTH:
        properties = {name: child for name, child in properties.items() if name in required}
    extra = schema.get("additionalProperties")
    for name in required:
        properties.setdefault(name, extra if isinstance(extra, Mapping) else {})
    if depth > 8 * _DEPTH:
        return {}
    return {name: _value(child, root, seed, f"{path}.{name}", depth + 1) for name, child in properties.items()}


def _array(
    schema: Mapping[str, Any], root: Mapping[str, Any], seed: int, path: str, depth: int, draw: int
) -> list[Any]:
    least = min(int(schema.get("minItems", 0)), _LARGEST)
    most = int(schema.get("maxItems", max(least, 3)))
    count = least if depth >= _DEPTH else max(least, min(most, 1 + draw % 3))
    items: list[Any] = []
    attempt = 0
    while len(items) < count and attempt < count + 64:
        item = _value(schema.get("items", {}), root, seed, f"{path}[{attempt}]", depth + 1)
        attempt += 1
        if not (schema.get("uniqueItems") and item in items):
            items.append(item)
    return items


def _text(schema: Mapping[str, Any], path: str, draw: int) -> str:
    template = _FORMATS.get(schema.get("format", ""))
    if template is not None:
        return template.format(1 + draw % 28)
    name = path.rpartition(".")[2].partition("[")[0]
    text = f"simulated {name} {draw % 1000}"
    text = text.ljust(min(int(schema.get("minLength", 0)), _LARGEST), ".")
    return text[: int(schema.get("maxLength", len(text)))]


def _number(schema: Mapping[str, Any], draw: int, integer: int) -> int | float:
    step = schema.get("multipleOf") or (1 if integer else None)
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if step is not None:
        if integer and step != int(step):
            step = 1
        first = -math.inf if low is None else math.ceil(low / step)
        last = math.inf if high is None else math.floor(high / step)
        if above is not None:
            first = max(first, math.floor(above / step) + 1)
        if below is not None:
            last = min(last, math.ceil(below / step) - 1)
        if first == -math.inf:
            first = 0 if last >= 0 else last - 100
        last = min(last, first + 100)
        multiple = (int(first) + draw % max(1, int(last) - int(first) + 1)) * step
        return int(multiple) if integer else multiple
    floor = max(low if low is not None else -math.inf, above if above is not None else -math.inf)
    ceiling = min(high if high is not None else math.inf, below if below is not None else math.inf)
    if floor == -math.inf:
        floor = min(0.0, ceiling - 100) if ceiling != math.inf else 0.0
    if ceiling == math.inf:
        ceiling = floor + 100
    value = floor + (ceiling - floor) * ((1 + draw % 98) / 100)
    rounded = round(value, 2)
    return rounded if floor < rounded < ceiling else value
