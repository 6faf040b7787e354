"""Functions that make rows: explode, posexplode, inline, stack, json_tuple, in SELECT, in FROM and in LATERAL VIEW."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from aiq.sql.databricks.macros import SCHEMA
from aiq.sql.databricks.words import Print, literal, name_of, quoted, refused

GENERATORS = (
    "explode",
    "explode_outer",
    "posexplode",
    "posexplode_outer",
    "stack",
    "json_tuple",
    "inline",
    "inline_outer",
)


def generated(name: str, arguments: Sequence[exp.Expr], show: Print, count: int = 1) -> list[str] | None:
    """The columns that a generator makes, `count` of them where that depends on a type; None where it has none here.

    `posexplode(a)` makes `CAST(unnest(range(len(a))) AS INTEGER)` and `unnest(a)`.
    """
    base = name.removesuffix("_outer")
    outer = base != name
    values = [show(each) for each in arguments]
    if base in ("explode", "posexplode") and len(values) == 1:
        (value,) = values
        places = [_items(f"range(len({value}))", outer)] if base == "posexplode" else []
        places = [f"CAST(unnest({each}) AS INTEGER)" for each in places]
        if count - len(places) == 2:
            return [*places, *(f"unnest({_items(f'map_{each}({value})', outer)})" for each in ("keys", "values"))]
        return [*places, f"{SCHEMA}.exploded({_items(value, outer)})"]
    if base == "inline" and len(values) == 1:
        return [f"struct_extract_at(unnest({_items(values[0], outer)}), {i})" for i in range(1, count + 1)]
    if base == "json_tuple":
        return [f"{SCHEMA}.json_text({values[0]}, {quoted('$.' + chr(34) + literal(each, name, 'key') + chr(34))})"
                for each in arguments[1:]]  # fmt: skip
    if base == "stack" and arguments and arguments[0].sql().isdigit() and arguments[0].sql() != "0":
        rows = int(arguments[0].sql())
        width = -(-(len(values) - 1) // rows)
        cells = [*values[1:], *["NULL"] * (rows * width - len(values) + 1)]
        return [f"unnest([{', '.join(cells[i::width])}])" for i in range(width)]
    return None


def columns(call: exp.Expr, names: Sequence[str], show: Print) -> str:
    """The columns of a call as a SELECT list, with their names or Spark's own. Raises StatementError.

    `stack(1, 2, 'a')` without names makes `unnest([2]) AS col0, unnest(['a']) AS col1`.
    """
    name = name_of(call)
    if name.startswith("inline") and not names and len(call.expressions) == 1:
        outer = name.endswith("_outer")
        return f"unnest({_items(show(call.expressions[0]), outer)}, max_depth := 2)"  # fields have their own names
    made = generated(name, call.expressions, show, len(names)) if name in GENERATORS else None
    if made is None:
        raise refused(f"{call.sql('databricks')[:40]} as a generator of rows")
    names = names or _own_names(name, len(made))
    if len(made) != len(names):
        raise refused(f"{name}", f"gives {len(made)} columns, and {len(names)} are named")
    return ", ".join(f"{column} AS {each}" for column, each in zip(made, names, strict=True))


def _items(value: str, outer: bool) -> str:
    """A list; with `outer`, one NULL in the place of an empty one, or of none."""
    return f"CASE WHEN len({value}) > 0 THEN {value} ELSE [NULL] END" if outer else value


def _own_names(name: str, count: int) -> list[str]:
    base, prefix = name.removesuffix("_outer"), "c" if name == "json_tuple" else "col"
    return {"explode": ["col"], "posexplode": ["pos", "col"]}.get(base) or [f"{prefix}{i}" for i in range(count)]
