"""Calls of Spark functions in DuckDB's words. What is not in the allow list is refused by name.

Most are templates (`templates.py`); those that depend on literals among their arguments are functions, by subject.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlglot import exp

from aiq.sql.databricks import aggregates, arithmetic, date_calls, nested_calls, text_calls
from aiq.sql.databricks.casts import CASTS, cast
from aiq.sql.databricks.macros import SCHEMA
from aiq.sql.databricks.one_type import alike
from aiq.sql.databricks.templates import SAME, TEMPLATES
from aiq.sql.databricks.words import (
    PLACE,
    Print,
    asks_rows,
    dated,
    filled,
    makes_nested,
    may_fail,
    message,
    name_of,
    refused,
    text_of_concat,
    tried,
    typed,
)

_OF_ONE_TYPE = frozenset({"coalesce", "nvl", "ifnull", "nullif", "greatest", "least"})
_OF_ITEMS = {
    "array_append": "made", "array_prepend": "made", "array_insert": "made", "array_position": "made",
    "array_remove": "kept",
    "array_union": "alike", "array_intersect": "alike", "array_except": "alike", "arrays_overlap": "alike",
}  # fmt: skip
"""Functions of an array and a value or another array, and the macro that refuses types that Spark treats otherwise."""
_NOT_OF_TEXTS = frozenset({"get", "array_size", "slice", "element_at", "try_element_at"})
"""Functions of an array that DuckDB has of a text too."""
_OF_THE_PROCESSOR = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})


_ONE_NAME = {"nvl": "coalesce", "ifnull": "coalesce"}


def sort_of(node: exp.Expr) -> str | None:
    """Whether a node is a literal of a number or a string; None where that is not plain."""
    value = node.unnest()
    value = value.this if isinstance(value, exp.Neg) else value
    if isinstance(value, exp.Literal):
        return "string" if value.is_string else "number"
    return None


def call(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """A call of a Spark function in DuckDB's words. Raises StatementError where there are none."""
    if name == "array_contains" and len(arguments) == 2 and isinstance(arguments[1], exp.Null):
        raise refused(f"{name} of NULL")
    if name == "map_concat" and any(isinstance(each, exp.Null) for each in arguments):
        raise refused(f"{name} of NULL")
    if name == "array_contains" and sort_of(arguments[-1]) == "string" and isinstance(arguments[0], exp.Column):
        values = f"{SCHEMA}.texts_only({show(arguments[0])}, {message(name + ' of other values than texts')})"
        return call(name, [exp.Var(this=values), *arguments[1:]], show)
    if name in _OF_ITEMS and len(arguments) >= 2 and not any(map(asks_rows, arguments)):
        at = 2 if name == "array_insert" else 1
        array, value, said = show(arguments[0]), typed(arguments[at], show), message(f"{name} of different types")
        checked = f"{SCHEMA}.{_OF_ITEMS[name]}({array}, typeof({array}), typeof({value}), {said})"
        arguments = [exp.Var(this=checked), *arguments[1:]]
    if name in _NOT_OF_TEXTS and not asks_rows(arguments[0]):
        array = f"{SCHEMA}.no_text({typed(arguments[0], show)}, {message(name + ' of a text')})"
        arguments = [exp.Var(this=array), *arguments[1:]]
    if name == "map_contains_key" and sort_of(arguments[-1]) == "string" and not asks_rows(arguments[0]):
        keys = f"{SCHEMA}.text_keys({show(arguments[0])}, {message(name + ' of other keys than texts')})"
        arguments = [exp.Var(this=keys), *arguments[1:]]
    if name == "array_join" and not asks_rows(arguments[0]):
        flat = f"{SCHEMA}.no_nested({show(arguments[0])}, {message('array_join of such values')})"
        arguments = [exp.Var(this=flat), *arguments[1:]]
    if name in ("greatest", "least") and any(sort_of(each) == "string" for each in arguments):
        return f"{name}({', '.join(typed(each, show) for each in arguments)})"
    if name in ("greatest", "least") and any(makes_nested(each) for each in arguments):
        raise refused(f"{name} of arrays or structs")
    if name in _OF_ONE_TYPE and len({sort_of(each) for each in arguments} - {None}) > 1:
        raise refused(f"{name} of a number and a string", "compares or mixes them by Spark's rules; CAST one of them")
    if name == "nullif" and len(arguments) == 2 and _decimal(arguments[1]):
        condition = show(exp.EQ(this=arguments[0].copy(), expression=arguments[1].copy()))
        return f"CASE WHEN {condition} THEN NULL ELSE {show(arguments[0])} END"
    if name == "nullif" and isinstance(arguments[0], exp.Column) and sort_of(arguments[-1]) == "number":
        value = f"{SCHEMA}.no_flag({show(arguments[0])}, {message('nullif of a BOOLEAN and a number')})"
        return f"nullif({value}, {show(arguments[-1])})"
    if name in _OF_ONE_TYPE and name != "nullif" and len(arguments) > 1:
        return f"{_ONE_NAME.get(name, name)}({', '.join(alike(arguments, name, show))})"
    if (special := _SPECIAL.get(name)) is not None:
        return special(name, arguments, show)
    if name in CASTS and len(arguments) == 1:
        value = dated(arguments[0], "TIMESTAMPTZ", show) if name == "timestamp" else typed(arguments[0], show)
        value = text_of_concat(arguments[0], value) if name == "string" else value
        kind = exp.DataType.build(CASTS[name], dialect="databricks")
        return cast(value, kind)
    if name == "to_json" and len(arguments) == 1 and isinstance(arguments[0].unnest(), exp.JSONExtract):
        raise refused("to_json of a path")
    if name == "to_json" and len(arguments) == 1 and name_of(arguments[0].unnest()) in ("parse_json", "try_parse_json"):
        return f"CAST({show(arguments[0])} AS VARCHAR)"
    if name == "to_json" and len(arguments) == 1 and not asks_rows(arguments[0]):
        arguments = [exp.Var(this=f"{SCHEMA}.nested({show(arguments[0])}, {message('to_json of such a value')})")]
    if name == "try_parse_json" and len(arguments) == 1 and may_fail(arguments[0]) and not asks_rows(arguments[0]):
        text = typed(arguments[0], show)
        return tried(lambda each: call("parse_json", [exp.Var(this=each)], show), text, apart=True)
    if name in TEMPLATES:
        templates = TEMPLATES[name]
        for template in (templates,) if isinstance(templates, str) else templates:
            places = {found.group(2) for found in PLACE.finditer(template)} - {"m"}
            if places == {"*"} or len(places) == len(arguments):
                return filled(template, name, arguments, show)
        raise refused(f"{name} with {len(arguments)} arguments")
    if name in SAME:
        return f"{name}({', '.join(map(show, arguments))})"
    if name in _OF_THE_PROCESSOR:
        raise refused(name, "has another last digit on each kind of processor in Spark")
    raise refused(name)


def _if(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if len(arguments) != 3:
        raise refused(f"{name} with {len(arguments)} arguments")
    condition, yes, no = arguments
    first, second = alike([yes, no], name, show)
    flag = show(condition)
    if isinstance(condition, exp.Column):
        flag = f"{SCHEMA}.flag({flag}, {message('a number as a condition')})"
    return f"CASE WHEN {flag} THEN {first} ELSE {second} END"


def _nvl2(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if len(arguments) != 3:
        raise refused(f"{name} with {len(arguments)} arguments")
    first, second = alike(arguments[1:], name, show)
    return f"CASE WHEN {show(arguments[0])} IS NOT NULL THEN {first} ELSE {second} END"


def _array(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    return f"[{', '.join(alike(arguments, name, show))}]"


def _decimal(node: exp.Expr) -> bool:
    return isinstance(node, exp.Literal) and not node.is_string and "." in node.name


def _negative(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if len(arguments) != 1:
        raise refused(f"{name} with {len(arguments)} arguments")
    return f"({show(exp.Neg(this=exp.Paren(this=arguments[0])))})"


_SPECIAL: dict[str, Callable[[str, Sequence[exp.Expr], Print], str]] = {
    "if": _if,
    "nvl2": _nvl2,
    "array": _array,
    "negative": _negative,
    **arithmetic.CALLS,
    **text_calls.CALLS,
    **date_calls.CALLS,
    **nested_calls.CALLS,
    **aggregates.CALLS,
}
