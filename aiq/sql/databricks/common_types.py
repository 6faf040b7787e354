"""The one type that Spark gives values of two types, by the names of DuckDB's types; '' where there is none."""

from __future__ import annotations

from aiq.sql.databricks.decimal_types import widest

_NULL = '"NULL"'
_MOMENTS = ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")


def common_type(one: str, two: str) -> str:
    """The type of a column of a UNION, where Spark makes no numbers of texts: INTEGER and DOUBLE give DOUBLE."""
    if one == two or two == _NULL:
        return one
    if one == _NULL:
        return two
    if one.endswith("[]") and two.endswith("[]"):
        inner = common_type(one[:-2], two[:-2])
        return f"{inner}[]" if inner else ""
    if one in _MOMENTS and two in _MOMENTS:
        return max(one, two, key=_MOMENTS.index)
    if "FLOAT" in (one, two):
        return "DOUBLE" if widest(two if one == "FLOAT" else one, "DOUBLE") == "DOUBLE" else ""
    return widest(one, two)


def item_type(array: str, value: str) -> str:
    """The type of the items of an array that a function gets together with a value, both of which Spark casts to it.

    It casts an INT to a BIGINT or a DOUBLE, and none to a DECIMAL.
    """
    item = array[:-2] if array.endswith("[]") else array
    made = common_type(item, value)
    return "" if item != value and _NULL not in (item, value) and made.startswith("DECIMAL") else made


def kept_item(array: str, value: str) -> str:
    """x where an array keeps its type beside a value, else ''."""
    return "x" if item_type(array, value) == array.removesuffix("[]") else ""


def same_items(one: str, two: str) -> str:
    """x where two arrays have one type, or one of them has items of none; else ''."""
    return "x" if one == two or _NULL in one + two or not (one.endswith("[]") and two.endswith("[]")) else ""


def made_item(array: str, value: str) -> str:
    """x where DuckDB makes of an array and a value what Spark makes of them, else ''."""
    made = item_type(array, value)
    floats = "FLOAT" in (array.removesuffix("[]"), value) and made == "DOUBLE" and "DOUBLE" not in (array[:-2], value)
    return "x" if made and not floats else ""
