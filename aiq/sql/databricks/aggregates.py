"""Aggregate and window functions of Spark in DuckDB's words."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from aiq.sql.databricks.macros import SCHEMA
from aiq.sql.databricks.templates import AGGREGATES
from aiq.sql.databricks.words import PLACE, Print, filled, message, refused


def _aggregate(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    inner, outer = aggregate(name, arguments, show)
    if name == "sum" and not isinstance(arguments[0], exp.Distinct):
        return f"{SCHEMA}.sum_of({show(arguments[0])})"
    return outer.replace("%", inner)


def aggregate(name: str, arguments: Sequence[exp.Expr], show: Print) -> tuple[str, str]:
    """An aggregate or window function, and what is made of its result (`%`), which FILTER and OVER come before."""
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
        return f"any_value({show(arguments[0])})", "%"
    if name == "count" and distinct and len(plain) > 1:
        known = " AND ".join(f"{show(each)} IS NOT NULL" for each in plain)
        fields = ", ".join(f"'c{i}': {show(each)}" for i, each in enumerate(plain))
        return f"count(DISTINCT CASE WHEN {known} THEN {{{fields}}} END)", "%"
    if name in ("first", "last", "any_value", "first_value", "last_value") and len(arguments) == 2:
        raise refused(f"{name} with a second argument", "has no exact counterpart on DuckDB; write IGNORE NULLS")
    if distinct and (len(plain) != 1 or name not in ("count", "sum", "avg", "min", "max", "collect_list", "array_agg")):
        raise refused(f"{name}(DISTINCT ..)")
    for inner, outer in AGGREGATES[name]:
        places = {found.group(2) for found in PLACE.finditer(inner)} - {"m"}
        if len(places) == len(plain):
            made = filled(inner, name, plain, show)
            if distinct:
                made = made.replace("(", "(DISTINCT ", 1)
            return made, outer.replace("@", f"{SCHEMA}.")
    raise refused(f"{name} with {len(arguments)} arguments")


def within_group(name: str, arguments: Sequence[exp.Expr], order: exp.Expr, show: Print) -> str:
    """`percentile_cont(0.5) WITHIN GROUP (ORDER BY x)` and percentile_disc."""
    by = order.expressions[0] if len(order.expressions) == 1 else None
    if name not in ("percentile_cont", "percentile_disc") or len(arguments) != 1 or by is None:
        raise refused(f"{name} WITHIN GROUP")
    part = f"(1 - ({show(arguments[0])}))" if by.args.get("desc") else show(arguments[0])
    if by.args.get("desc") and name == "percentile_disc":
        raise refused(f"{name} in descending order")
    return f"quantile_{name[-4:]}({SCHEMA}.double({show(by.this)}, {message(name)}), {part})"


CALLS = dict.fromkeys(AGGREGATES, _aggregate)
