"""Values as Spark prints them: Arrow columns in, Arrow columns out. Where SQL cannot say it."""

from __future__ import annotations

import datetime as dt
import decimal
import zlib
from collections.abc import Callable
from functools import partial
from operator import floordiv, mod
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aiq.errors import StatementError
from aiq.sql.databricks import common_types, java_functions, java_math, moment_texts, number_formats
from aiq.sql.databricks import decimal_types as types
from aiq.sql.databricks import decimal_values as decimals
from aiq.sql.databricks import regex_values as regex
from aiq.sql.databricks import text_values as texts
from aiq.sql.databricks.json_values import first_json, from_json, to_json, variant
from aiq.sql.databricks.number_text import double_text, float_text


def decimal_text(value: decimal.Decimal) -> str:
    return f"{value:f}"


def stamp_text(value: dt.datetime) -> str:
    text = value.strftime("%Y-%m-%d %H:%M:%S") if value.year >= 1000 else value.isoformat(" ", "seconds")[:19]
    return text + (f".{value.microsecond:06d}".rstrip("0") if value.microsecond else "")


def _nested(value: Any, kind: pa.DataType) -> str:
    """A value within an array, a map or a struct; NULL is `null` there."""
    if value is None:
        return "null"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"[{', '.join(_nested(each, kind.value_type) for each in value)}]"
    if pa.types.is_map(kind):
        items = (f"{_nested(k, kind.key_type)} -> {_nested(v, kind.item_type)}" for k, v in value)
        return "{" + ", ".join(items) + "}"
    if pa.types.is_struct(kind):
        return "{" + ", ".join(_nested(value[field.name], field.type) for field in kind) + "}"
    return printer(kind)(value)


def printer(kind: pa.DataType) -> Callable[[Any], str]:
    """How Spark prints a value of a type that is no NULL. Raises StatementError for types that Spark does not have."""
    if pa.types.is_boolean(kind):
        return lambda value: "true" if value else "false"
    if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return str
    if pa.types.is_float32(kind):
        return float_text
    if pa.types.is_float64(kind):
        return double_text
    if pa.types.is_decimal(kind):
        return decimal_text
    if pa.types.is_date(kind):
        return lambda value: str(value.isoformat())
    if pa.types.is_timestamp(kind):
        return stamp_text
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return lambda value: bytes(value).decode("utf-8", "replace")
    if pa.types.is_null(kind):
        return str
    if pa.types.is_nested(kind):
        return lambda value: _nested(value, kind)
    raise StatementError(f"a value of this type has no text in Databricks SQL: {kind}; write a CAST to STRING")


def text(*columns: pa.ChunkedArray) -> pa.Array:
    """The text of one column, NULL for NULL."""
    (column,) = columns
    kind = column.type
    if pa.types.is_string(kind):
        return _one(column)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        column = pc.local_timestamp(column)
    print_one = printer(kind)
    return pa.array([None if each is None else print_one(each) for each in column.to_pylist()], pa.string())


def each_text(*columns: pa.ChunkedArray) -> pa.Array:
    """The texts of the values of a list, or of the one value of another column; an empty list for no list."""
    (column,) = columns
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return pa.array([[each] for each in text(column).to_pylist()], pa.list_(pa.string()))
    print_one = printer(kind.value_type)
    return pa.array(
        [
            None if row is None else [None if each is None else print_one(each) for each in row]
            for row in column.to_pylist()
        ],
        pa.list_(pa.string()),
    )


def _one(column: Any) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _rows(function: Callable[..., Any], kind: pa.DataType) -> Callable[..., pa.Array]:
    """A function of values over rows; NULL where an argument is NULL."""

    def over(*columns: pa.ChunkedArray) -> pa.Array:
        rows = zip(*(column.to_pylist() for column in columns), strict=True)
        return pa.array([None if any(v is None for v in row) else function(*row) for row in rows], kind)

    return over


def _shift(bits: int, value: int, by: int, left: bool, unsigned: bool) -> int:
    """Java's shifts: by the lower bits of the second number, within the bits of the first."""
    by %= bits
    made = (value % 2**bits if unsigned else value) >> by if not left else value << by
    return int((made + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1))


def _bucket(value: float, low: float, high: float, count: int) -> int | None:
    if not 0 < count < 2**63 - 1 or low == high or value != value or any(each - each != 0 for each in (low, high)):
        return None
    if low < high:
        return 0 if value < low else count + 1 if value >= high else int(count * (value - low) / (high - low)) + 1
    return 0 if value > low else count + 1 if value <= high else int(count * (low - value) / (low - high)) + 1


_TEXT, _INT, _LONG = pa.string(), pa.int32(), pa.int64()
FUNCTIONS: dict[str, tuple[Callable[..., pa.Array], str]] = {
    "text": (text, "VARCHAR"),
    "texts": (each_text, "VARCHAR[]"),
    "from_json": (from_json, "VARCHAR"),
    "to_json": (to_json, "VARCHAR"),
    "upper": (_rows(str.upper, _TEXT), "VARCHAR"),
    "lower": (_rows(str.lower, _TEXT), "VARCHAR"),
    "reverse": (_rows(texts.reverse, _TEXT), "VARCHAR"),
    "base64": (_rows(texts.base64, _TEXT), "VARCHAR"),
    "stamp": (_rows(moment_texts.stamp, _TEXT), "VARCHAR"),
    "initcap": (_rows(texts.initcap, _TEXT), "VARCHAR"),
    "find_in_set": (_rows(texts.find_in_set, _INT), "INTEGER"),
    "translate": (_rows(texts.translate, _TEXT), "VARCHAR"),
    "locate": (_rows(texts.locate, _INT), "INTEGER"),
    "overlay": (_rows(texts.overlay, _TEXT), "VARCHAR"),
    "soundex": (_rows(texts.soundex, _TEXT), "VARCHAR"),
    "url_encode": (_rows(texts.url_encode, _TEXT), "VARCHAR"),
    "url_decode": (_rows(texts.url_decode, _TEXT), "VARCHAR"),
    "mask": (_rows(texts.mask, _TEXT), "VARCHAR"),
    "luhn_check": (_rows(texts.luhn_check, pa.bool_()), "BOOLEAN"),
    "levenshtein": (_rows(texts.levenshtein, _INT), "INTEGER"),
    "conv": (_rows(texts.conv, _TEXT), "VARCHAR"),
    "split": (_rows(regex.split, pa.list_(_TEXT)), "VARCHAR[]"),
    "regexp_like": (_rows(regex.matches, pa.bool_()), "BOOLEAN"),
    "regexp_instr": (_rows(regex.instr, _INT), "INTEGER"),
    "regexp_count": (_rows(regex.count, _INT), "INTEGER"),
    "regexp_substr": (_rows(regex.substr, _TEXT), "VARCHAR"),
    "regexp_extract": (_rows(regex.extract, _TEXT), "VARCHAR"),
    "regexp_extract_all": (_rows(regex.extract_all, pa.list_(_TEXT)), "VARCHAR[]"),
    "regexp_replace": (_rows(regex.replace, _TEXT), "VARCHAR"),
    "first_json": (_rows(first_json, _TEXT), "VARCHAR"),
    "variant": (_rows(variant, _TEXT), "VARCHAR"),
    "str_to_map": (_rows(texts.str_to_map, pa.map_(_TEXT, _TEXT)), "MAP(VARCHAR, VARCHAR)"),
    "format_number": (_rows(texts.format_number, _TEXT), "VARCHAR"),
    "to_char": (_rows(number_formats.to_char, _TEXT), "VARCHAR"),
    "to_number": (_rows(number_formats.to_number, _TEXT), "VARCHAR"),
    "try_to_number": (_rows(number_formats.try_to_number, _TEXT), "VARCHAR"),
    "fixed": (_rows(texts.fixed, _TEXT), "VARCHAR"),
    "result_type": (types.over_types(types.result_type), "VARCHAR"),
    "side": (types.over_types(types.side), "VARCHAR"),
    "through": (types.over_types(types.through), "VARCHAR"),
    "sum_type": (types.over_types(types.sum_type), "VARCHAR"),
    "average_type": (types.over_types(types.average_type), "VARCHAR"),
    "rounded_type": (types.over_types(types.rounded_type), "VARCHAR"),
    "widest": (types.over_types(types.widest), "VARCHAR"),
    "numeric": (types.over_types(types.numeric), "VARCHAR"),
    "rounded_integer": (types.over_types(types.rounded_integer), "VARCHAR"),
    "as_decimal": (types.over_types(types.as_decimal), "VARCHAR"),
    "half_even": (_rows(decimals.half_even, _TEXT), "VARCHAR"),
    "ceiling": (_rows(decimals.ceiling, _TEXT), "VARCHAR"),
    "floor": (_rows(decimals.floor, _TEXT), "VARCHAR"),
    "integer_type": (types.over_types(types.integer_type), "VARCHAR"),
    "compared_with_text": (types.over_types(types.compared_with_text), "VARCHAR"),
    "compared_with_number": (types.over_types(types.compared_with_number), "VARCHAR"),
    "kept_item": (types.over_types(common_types.kept_item), "VARCHAR"),
    "made_item": (types.over_types(common_types.made_item), "VARCHAR"),
    "same_items": (types.over_types(common_types.same_items), "VARCHAR"),
    "way": (types.over_types(types.way), "VARCHAR"),
    "quotient": (decimals.over_decimals(decimals.quotient, 39), "VARCHAR"),
    "try_quotient": (decimals.over_decimals(decimals.quotient, 39, may_fail=True), "VARCHAR"),
    "remainder": (decimals.over_decimals(mod, None), "VARCHAR"),
    "whole": (decimals.over_decimals(floordiv, 0), "VARCHAR"),
    **{name: (_rows(function, pa.float64()), "DOUBLE") for name, function in java_functions.FUNCTIONS.items()},
    **{name: (_rows(function, pa.float64()), "DOUBLE") for name, function in java_math.FUNCTIONS.items()},
    "shift_int": (_rows(partial(_shift, 32), _INT), "INTEGER"),
    "shift_bigint": (_rows(partial(_shift, 64), _LONG), "BIGINT"),
    "width_bucket": (_rows(_bucket, _LONG), "BIGINT"),
    "crc32": (
        _rows(lambda value: zlib.crc32(value.encode() if isinstance(value, str) else value), pa.int64()),
        "BIGINT",
    ),
}
"""By name: the function, and DuckDB's word for the type of its result."""
