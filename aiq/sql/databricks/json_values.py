"""from_json and to_json as Spark does them: Arrow columns in, Arrow columns of text out."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pyarrow as pa

from aiq.errors import FunctionError, StatementError
from aiq.functions.types import duckdb_type, parse_type
from aiq.sql.databricks.json_schemas import NumberText
from aiq.sql.databricks.number_text import double_text

_BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}
_NUMBERS_AS_TEXT = ("NaN", "Infinity", "-Infinity", "+INF", "INF", "-INF")


class _Doubled(dict[str, Any]):
    """A JSON object in which a key comes twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    return made if len(made) == len(pairs) else _Doubled(made)


class _MisfitError(ValueError):
    """A value that is none of its type."""


def json_structure(kind: pa.DataType) -> Any:
    """DuckDB's JSON structure of a type: names as text, lists in brackets, structs as objects.

    Raises FunctionError for types that JSON has no exact form for.
    """
    if pa.types.is_struct(kind):
        return {field.name: json_structure(field.type) for field in kind}
    if pa.types.is_list(kind):
        return [json_structure(kind.value_type)]
    if pa.types.is_map(kind) and pa.types.is_string(kind.key_type):
        json_structure(kind.item_type)
        return duckdb_type(kind)
    if pa.types.is_date(kind) or pa.types.is_decimal(kind):
        return duckdb_type(kind)
    if str(kind) in _BITS or pa.types.is_string(kind) or pa.types.is_boolean(kind) or pa.types.is_float64(kind):
        return duckdb_type(kind)
    raise FunctionError("AI_FUNCTION_UNSUPPORTED_RETURN_TYPE", f"{kind} has no exact form in JSON")


def from_json(texts: pa.ChunkedArray, schemas: pa.ChunkedArray) -> pa.Array:
    """Each text as JSON that fits the schema (the same in all rows); NULL where it is none."""
    if len(texts) == 0:
        return pa.array([], pa.string())
    kind = _type(schemas[0].as_py())
    return pa.array([None if text is None else _fitted(text, kind) for text in texts.to_pylist()], pa.string())


@lru_cache(64)
def _type(schema: str) -> pa.DataType:
    return parse_type(schema)


def _fitted(text: str, kind: pa.DataType) -> str | None:
    try:
        decoder = json.JSONDecoder(
            object_pairs_hook=_object, parse_float=NumberText, parse_int=NumberText, parse_constant=NumberText
        )
        value, _ = decoder.raw_decode(text.lstrip())
    except (ValueError, RecursionError):
        if (plain := plain_json(text)) is not None and plain != text:
            return _fitted(plain, kind)
        return None if not pa.types.is_struct(kind) or not text.strip() else _empty(kind)
    if value is None and pa.types.is_struct(kind):
        return _empty(kind)
    try:
        return json.dumps(_fit(value, kind, top=True))
    except _MisfitError:
        return _empty(kind) if pa.types.is_struct(kind) else None


def _empty(kind: pa.DataType) -> str:
    return json.dumps({field.name: None for field in kind})


def _fit(value: Any, kind: pa.DataType, *, top: bool = False) -> Any:
    if value is None:
        return None
    if pa.types.is_struct(kind) and isinstance(value, dict):
        return {field.name: _or_null(value.get(field.name), field.type) for field in kind}
    if top and pa.types.is_list(kind) and pa.types.is_struct(kind.value_type) and isinstance(value, dict):
        return [_fit(value, kind.value_type)]
    if pa.types.is_list(kind) and isinstance(value, list):
        return [_fit(each, kind.value_type) for each in value]
    if pa.types.is_map(kind) and isinstance(value, dict):
        if isinstance(value, _Doubled):
            raise StatementError("from_json: a key comes twice in a JSON object that is read as a MAP")
        return {key: _fit(each, kind.item_type) for key, each in value.items()}
    if pa.types.is_date(kind) and isinstance(value, str) and not isinstance(value, NumberText):
        return _date(value)
    if pa.types.is_decimal(kind) and isinstance(value, str):
        return _decimal(value if isinstance(value, NumberText) else value.replace(",", ""), kind)
    if pa.types.is_string(kind):
        return _compact(value) if isinstance(value, NumberText) or not isinstance(value, str) else str(value)
    if pa.types.is_boolean(kind) and isinstance(value, bool):
        return value
    if pa.types.is_float64(kind) and isinstance(value, NumberText):
        return float(value)
    if pa.types.is_float64(kind) and value in _NUMBERS_AS_TEXT:
        return float(value)
    bits = _BITS.get(str(kind))
    if (
        bits
        and isinstance(value, NumberText)
        and value.lstrip("-").isdigit()
        and -(2 ** (bits - 1)) <= int(value) < 2 ** (bits - 1)
    ):
        return int(value)
    raise _MisfitError


_PLAIN_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_DATE = re.compile(r"(\d{4,7})(?:-(\d{1,2})(?:-(\d{1,2})(?:[ T].*)?)?)?", re.DOTALL | re.ASCII)


def _date(text: str) -> str:
    found = _DATE.fullmatch(text.strip())
    if found is None:
        raise _MisfitError
    year, month, day = (int(each or 1) for each in found.groups())
    if not 0 < year < 10000:
        raise StatementError(f"from_json: a DATE of the year {year} has no exact counterpart on DuckDB")
    try:
        return dt.date(year, month, day).isoformat()
    except ValueError:
        raise _MisfitError from None


def _decimal(text: str, kind: pa.DataType) -> str:
    """Rounded half up to its digits after the point."""
    if _PLAIN_NUMBER.fullmatch(text) is None:
        raise _MisfitError
    with decimal.localcontext(prec=1000):
        made = decimal.Decimal(text).quantize(decimal.Decimal(1).scaleb(-kind.scale), decimal.ROUND_HALF_UP)
    if len(made.as_tuple().digits) > kind.precision:
        raise _MisfitError
    return f"{made:f}"


def _or_null(value: Any, kind: pa.DataType) -> Any:
    try:
        return _fit(value, kind)
    except _MisfitError:
        return None


def _read_number(value: str) -> str:
    """A number as Spark's JSON functions write it again: 1.50 becomes 1.5."""
    return value if value.lstrip("-").isdigit() or value in _NUMBERS_AS_TEXT else double_text(float(value))


def _variant_number(value: str) -> str:
    """A number as a VARIANT prints it: one without an exponent is a DECIMAL, without the zeros at its end."""
    found = _WITHOUT_EXPONENT.fullmatch(value)
    if found is None or len((found[1] + (found[2] or "")).lstrip("0")) > 38 or len(found[2] or "") > 38:
        return double_text(float(value))
    with decimal.localcontext(prec=80):
        number = decimal.Decimal(value).normalize()
    return f"{number:f}" if number else "0"


_WITHOUT_EXPONENT = re.compile(r"-?(\d+)(?:\.(\d+))?", re.ASCII)


def _compact(value: Any, number: Callable[[str], str] = _read_number) -> str:
    if isinstance(value, NumberText):
        return number(str(value))
    if isinstance(value, dict):
        fields = (f"{json.dumps(k, ensure_ascii=False)}:{_compact(v, number)}" for k, v in value.items())
        return "{" + ",".join(fields) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_compact(each, number) for each in value) + "]"
    return json.dumps(value, ensure_ascii=False)


_SINGLE = re.compile(r"""\"(?:[^\"\\]|\\.)*\"|'((?:[^'\\]|\\.)*)'""", re.DOTALL)


def plain_json(text: str) -> str | None:
    """A JSON text that may have single quotes, as Spark's JSON functions take it, with double ones; None for none."""

    def spelled(found: re.Match[str]) -> str:
        inner = found.group(1)
        return found.group() if inner is None else '"' + inner.replace("\\'", "'").replace('"', '\\"') + '"'

    made = _SINGLE.sub(spelled, text)
    try:
        json.loads(made)
    except (ValueError, RecursionError):
        return None
    return made


def first_json(text: str) -> str | None:
    """The JSON value that a text begins with, as Spark reads it for a path: what follows it may be anything."""

    def refuse(word: str) -> Any:
        raise ValueError(word)

    decoder = json.JSONDecoder(parse_constant=refuse)
    start = text.lstrip()
    try:
        _, end = decoder.raw_decode(start)
    except (ValueError, RecursionError):
        plain = plain_json(start)
        return first_json(plain) if plain is not None and plain != start else None
    return start[:end]


def variant(text: str) -> str:
    """A JSON text as a VARIANT prints: keys in order, no spaces. Raises ValueError for what is none."""

    def one(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise ValueError("parse_json: a key comes twice in an object")
        return dict(sorted(made.items()))

    def refuse(word: str) -> Any:
        raise ValueError(f"parse_json: {word} is no JSON")

    return _compact(
        json.loads(text, object_pairs_hook=one, parse_float=NumberText, parse_int=NumberText, parse_constant=refuse),
        _variant_number,
    )


def to_json(*columns: pa.ChunkedArray) -> pa.Array:
    """The JSON text of a struct, an array or a map; a field that is NULL is left out."""
    (column,) = columns
    if not pa.types.is_nested(column.type):
        raise StatementError("to_json takes a STRUCT, an ARRAY or a MAP")
    kind = column.type
    return pa.array([None if each is None else _text(each, kind) for each in column.to_pylist()], pa.string())


def _text(value: Any, kind: pa.DataType) -> str:
    from aiq.sql.databricks.values import printer

    if value is None:
        return "null"
    if pa.types.is_struct(kind):
        fields = [(field, value[field.name]) for field in kind if value[field.name] is not None]
        return "{" + ",".join(f"{_quoted(field.name)}:{_text(each, field.type)}" for field, each in fields) + "}"
    if pa.types.is_map(kind):
        if pa.types.is_nested(kind.key_type):
            raise StatementError("to_json of a MAP with such keys has no exact counterpart on DuckDB")
        text_of = printer(kind.key_type)
        return "{" + ",".join(f"{_quoted(text_of(k))}:{_text(v, kind.item_type)}" for k, v in value) + "}"
    if pa.types.is_list(kind):
        return "[" + ",".join(_text(each, kind.value_type) for each in value) + "]"
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return printer(kind)(value)
    if pa.types.is_floating(kind):
        text = printer(kind)(value)
        return _quoted(text) if text[-1] in "yN" else text
    if pa.types.is_string(kind) or pa.types.is_date(kind):
        return _quoted(printer(kind)(value))
    if pa.types.is_timestamp(kind) and value.year >= 1000:
        return _quoted(_stamp(value))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _quoted(base64.b64encode(value).decode())
    raise StatementError(f"to_json of {kind} has no exact counterpart on DuckDB; write a CAST to STRING")


def _stamp(value: dt.datetime) -> str:
    """To milliseconds, and with the zone where it has one: `2024-03-15T10:20:30.000Z`."""
    text = value.isoformat("T", "milliseconds")
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
