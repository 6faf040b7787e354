"""PIVOT as the aggregates that it stands for: one for each of its values, over the rows that have it.

`FROM q PIVOT (sum(x) FOR k IN ('a'))` is `FROM (SELECT * EXCEPT (k, x), sum(x) FILTER (WHERE k <=> 'a') AS a FROM q
GROUP BY ALL)`; where a group has no such row, it is NULL, also of count.
"""

from __future__ import annotations

from sqlglot import exp

from aiq.sql.databricks.words import name_of, refusal

_LISTS = frozenset({"collect_list", "collect_set", "array_agg"})
_COUNTS = frozenset({"count", "count_if"})
_NUMBERS = frozenset({"sum", "avg", "mean", "stddev", "stddev_samp", "stddev_pop", "variance", "var_samp", "var_pop"})
_KNOWN = _LISTS | _COUNTS | _NUMBERS | {"min", "max"}


def without_pivots(tree: exp.Expr) -> None:
    """Puts aggregates in the place of each PIVOT of a tree. Raises StatementError for what has no exact counterpart."""
    for pivot in list(tree.find_all(exp.Pivot)):
        holder = pivot.parent
        if pivot.args.get("unpivot") or holder is None or not isinstance(holder, (exp.Table, exp.Subquery)):
            continue
        fields = pivot.args.get("fields") or []
        if len(holder.args.get("pivots") or []) != 1 or len(fields) != 1 or not isinstance(fields[0], exp.In):
            raise refusal(
                "this PIVOT has no exact counterpart on DuckDB", "write the aggregates with FILTER (WHERE ..)"
            )
        source = holder.copy()
        source.set("pivots", None)
        select = _aggregated(pivot, fields[0], source)
        alias = pivot.args.get("alias") or exp.TableAlias(this=exp.to_identifier("aiq_pivot"))
        holder.replace(exp.Subquery(this=select, alias=alias.copy()))


def _aggregated(pivot: exp.Pivot, field: exp.In, source: exp.Expr) -> exp.Select:
    keys = field.this.expressions if isinstance(field.this, exp.Tuple) else [field.this]
    calls = [each.unalias() for each in pivot.expressions]
    named = [each.alias for each in pivot.expressions]
    names = [name_of(each) for each in calls]
    for name in names:
        if name not in _KNOWN:
            raise refusal(f"{name or 'this'} in PIVOT has no exact counterpart on DuckDB", "use max or min")
    counts, lists = set(names) & _COUNTS, set(names) & _LISTS
    if counts and not lists and len(names) > 1 and not set(names) <= _COUNTS | _NUMBERS:
        raise refusal("count beside min or max in PIVOT has no exact counterpart on DuckDB", "write two PIVOTs")
    if len(calls) > 1 and not all(named):
        raise refusal("several aggregates in PIVOT without names", "name each: sum(x) AS s")
    read = [*keys, *(column for call in calls for column in call.find_all(exp.Column))]
    left_out = list(dict.fromkeys(column.name.lower() for column in read))
    items: list[exp.Expr] = [exp.Star(except_=[exp.to_identifier(each, quoted=True) for each in left_out])]
    for value in field.expressions:
        of = _name(value)
        rows = _condition(keys, value.this if isinstance(value, exp.PivotAlias) else value)
        for call, name in zip(calls, named, strict=True):
            made: exp.Expr = _where(call, rows)
            if not lists:
                has_rows = exp.GT(this=_where(exp.Anonymous(this="count", expressions=[exp.Star()]), rows),
                                  expression=exp.Literal.number(0))  # fmt: skip
                made = exp.Case(ifs=[exp.If(this=has_rows, true=made)])
            items.append(exp.alias_(made, f"{of}_{name}" if len(calls) > 1 else of, quoted=True))
    return exp.Select(expressions=items, from_=exp.From(this=source), group=exp.Group(all=True))


def _where(call: exp.Expr, rows: exp.Expr) -> exp.Filter:
    return exp.Filter(this=call.copy(), expression=exp.Where(this=rows.copy()))


def _condition(keys: list[exp.Expr], value: exp.Expr) -> exp.Expr:
    values = value.expressions if isinstance(value, exp.Tuple) else [value]
    if len(values) != len(keys):
        raise refusal("a value of PIVOT has another number of parts than its columns", "write (a, b) for two columns")
    return exp.and_(
        *(exp.NullSafeEQ(this=key.copy(), expression=each.copy()) for key, each in zip(keys, values, strict=True))
    )


def _name(value: exp.Expr) -> str:
    """The name of the columns of a value: its alias, or its text."""
    if isinstance(value, exp.PivotAlias):
        return str(value.args["alias"].name)
    if isinstance(value, exp.Literal):
        return str(value.name)
    if isinstance(value, exp.Boolean):
        return str(value.this).lower()
    raise refusal(f"{value.sql('databricks')[:40]} in PIVOT without a name", "write .. AS name")
