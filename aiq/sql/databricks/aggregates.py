"""Aggregate and window functions of Spark in DuckDB's words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlglot import exp

from aiq.sql.databricks.arithmetic import type_of
from aiq.sql.databricks.macros import SCHEMA
from aiq.sql.databricks.templates import AGGREGATES
from aiq.sql.databricks.words import PLACE, Print, filled, message, name_of, refusal, refused

_PLACES = re.compile(r"%(\d*)")
_PERCENT = "\1"
"""Stands for a `%` that is no place."""


def _aggregate(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    return made_of(*aggregate(name, arguments, show))


def made_of(inners: Sequence[str], outer: str) -> str:
    """What is made of the results of some aggregates, `%0` and `%1` or, of one, `%`."""
    return _PLACES.sub(lambda found: inners[int(found[1] or 0)], outer).replace(_PERCENT, "%")


def aggregate(name: str, arguments: Sequence[exp.Expr], show: Print) -> tuple[list[str], str]:
    """The aggregate or window functions of a call, which FILTER and OVER come behind, and what is made of them."""
    distinct = len(arguments) == 1 and isinstance(arguments[0], exp.Distinct)
    plain = arguments[0].expressions if distinct else arguments
    if (
        name in ("min", "max")
        and arguments
        and isinstance(plain[0], exp.Anonymous)
        and "struct" in plain[0].name.lower()
    ):
        raise refused(f"{name} of a struct")
    if name in ("first", "any_value") and len(arguments) == 2 and arguments[1].sql().upper() == "TRUE":
        return [f"any_value({show(arguments[0])})"], "%"
    if name == "count" and plain and (isinstance(plain[0], exp.Column) or distinct) and plain[0].is_star:
        star = f"count({'DISTINCT ' if distinct else ''}{plain[0].sql()})"
        raise refusal(f"{star} counts the rows without a NULL", "name the columns")
    if name == "count" and distinct and len(plain) > 1:
        known = " AND ".join(f"{show(each)} IS NOT NULL" for each in plain)
        fields = ", ".join(f"'c{i}': {show(each)}" for i, each in enumerate(plain))
        return [f"count(DISTINCT CASE WHEN {known} THEN {{{fields}}} END)"], "%"
    if name in ("first", "last", "any_value", "first_value", "last_value") and len(arguments) == 2:
        raise refused(f"{name} with a second argument", "has no exact counterpart on DuckDB; write IGNORE NULLS")
    if distinct and (len(plain) != 1 or name not in ("count", "sum", "avg", "min", "max", "collect_list", "array_agg")):
        raise refused(f"{name}(DISTINCT ..)")
    if name in ("collect_list", "array_agg") and len(plain) == 1 and _of_star(plain[0]):  # in no lambda of DuckDB's
        return [f"list({show(arguments[0])})"], f"{SCHEMA}.collected(%)"
    for inner, outer in AGGREGATES[name]:
        places = {found.group(2) for found in PLACE.finditer(inner)} - {"m"}
        if len(places) == len(plain) or (plain and places == {"*"}):
            made = [filled(each, name, plain, show) for each in inner.split(" | ")]
            made = [each.replace("{t}", type_of(plain[0], show)) if "{t}" in inner else each for each in made]
            outer = outer.replace("@", f"{SCHEMA}.").replace("{m}", message(name))
            if "{k}" in outer:
                outer = outer.replace("{k}", _type_over_rows(plain[0], show, made))
            if distinct:
                made = [each.replace("(", "(DISTINCT ", 1) for each in made]
            return made, outer
    raise refused(f"{name} with {len(arguments)} arguments")


def _type_over_rows(node: exp.Expr, show: Print, made: list[str]) -> str:
    """The type of what an aggregate is over, told by the least values of what that is made of, which join `made`."""

    def least(part: exp.Expr) -> str:
        if isinstance(part, exp.Null):  # the least of those has no type
            return show(part)
        made.append(f"min({show(part)})")
        return f"\0{len(made) - 1}\0"

    return re.sub(r"\0(\d+)\0", r"%\1", type_of(node, least).replace("%", _PERCENT))


def _of_star(node: exp.Expr) -> bool:
    """Whether a node is `struct(*)`, or its text: it is never NULL."""
    node = node.expressions[0] if name_of(node) == "to_json" and node.expressions else node
    return name_of(node) == "struct" and any(each.is_star for each in node.expressions)


def within_group(name: str, arguments: Sequence[exp.Expr], order: exp.Expr, show: Print) -> str:
    """`percentile_cont(0.5) WITHIN GROUP (ORDER BY x)` and percentile_disc."""
    by = order.expressions[0] if len(order.expressions) == 1 else None
    if name in ("listagg", "string_agg") and 0 < len(arguments) < 3:
        separator = f"coalesce({show(arguments[1])}, '')" if len(arguments) == 2 else "''"
        return f"string_agg({filled('{s0}', name, arguments[:1], show)}, {separator} {show(order)})"
    if name not in ("percentile_cont", "percentile_disc") or len(arguments) != 1 or by is None:
        raise refused(f"{name} WITHIN GROUP")
    part = f"(1 - ({show(arguments[0])}))" if by.args.get("desc") else show(arguments[0])
    if by.args.get("desc") and name == "percentile_disc":
        raise refused(f"{name} in descending order")
    return f"quantile_{name[-4:]}({SCHEMA}.double({show(by.this)}, {message(name)}), {part})"


CALLS = dict.fromkeys(AGGREGATES, _aggregate)
