"""Comparisons and conditions: Spark takes no BOOLEAN for a number and no number for a BOOLEAN, DuckDB does both.

The types are known when DuckDB binds the statement: `b = 1` becomes `no_flag(b, ..) = 1`, which refuses a BOOLEAN there
and is `b = 1` for DuckDB's optimizer. Two columns are compared as they are.
"""

from __future__ import annotations

import re

from sqlglot import exp
from sqlglot.generators.duckdb import DuckDBGenerator

from aiq.sql.databricks.functions import sort_of
from aiq.sql.databricks.intervals import amount, difference, is_interval
from aiq.sql.databricks.macros import SCHEMA
from aiq.sql.databricks.one_type import kind
from aiq.sql.databricks.words import makes_nested, message, quoted, refusal, refused

_NUMBER = re.compile(r"\s*[+-]?(0[xX][0-9a-fA-F]+|(\d[\d_]*\.?[\d_]*|\.\d+)([eE][+-]?\d+)?[dDfF]?)\s*", re.ASCII)
_EQUALITIES = (exp.EQ, exp.NEQ, exp.NullSafeEQ, exp.NullSafeNEQ, exp.In)
_INTEGER = re.compile(r"\s*[+-]?\d{1,18}\s*", re.ASCII)


class Comparisons(DuckDBGenerator):
    """Prints comparisons for DuckDB."""

    def _macro(self, name: str, *arguments: str) -> str:
        return f"{SCHEMA}.{name}({', '.join(arguments)})"

    def eq_sql(self, expression: exp.EQ) -> str:
        if isinstance(expression.parent, (exp.Update, exp.SetItem)):  # it assigns
            return super().eq_sql(expression)
        return self._compared("=", expression)

    def neq_sql(self, expression: exp.NEQ) -> str:
        return self._compared("<>", expression)

    def lt_sql(self, expression: exp.LT) -> str:
        return self._compared("<", expression)

    def lte_sql(self, expression: exp.LTE) -> str:
        return self._compared("<=", expression)

    def gt_sql(self, expression: exp.GT) -> str:
        return self._compared(">", expression)

    def gte_sql(self, expression: exp.GTE) -> str:
        return self._compared(">=", expression)

    def _compared(self, sign: str, expression: exp.Expr) -> str:
        left, right = expression.this, expression.expression
        if is_interval(left) or is_interval(right):
            return f"{self._micros(left)} {sign} {self._micros(right)}"
        if sign in ("<", "<=", ">", ">=") and (makes_nested(left) or makes_nested(right)):
            raise refused(f"the operator {sign} of arrays or structs", "places NULL otherwise on DuckDB")
        shown, other = self._in_comparison(left, [right]), self._in_comparison(right, [left])
        return f"{self._like_column(left, right) or shown} {sign} {self._like_column(right, left) or other}"

    def _micros(self, node: exp.Expr) -> str:
        """A length of time in microseconds: `ts - now()` or an INTERVAL, beside another one."""
        known = amount(node) if is_interval(node) else None
        if known is not None and not known.months:
            return str(known.micros)
        if (sides := difference(node)) is None:
            raise refused(f"comparing {node.sql('databricks')[:40]} with an INTERVAL")
        return self._macro("apart", *(self.sql(each) for each in sides), message("the length of such an interval"))

    def _like_column(self, node: exp.Expr, column: exp.Expr) -> str | None:
        """A literal beside a column that may be a number, as Spark casts it: `n = '1.254'` compares DOUBLEs.

        DuckDB would read the text as the column's own type, and round it. None for anything else.
        """
        column, value = column.unnest(), node.unnest()
        if isinstance(value, exp.Literal) and not value.is_string and "." in value.name and kind(column) == "float":
            return f"CAST({self.sql(value)} AS DOUBLE)"
        if not isinstance(value, exp.Literal) or not isinstance(column, exp.Column):
            return None
        shown = super().column_sql(column)
        if value.is_string and _NUMBER.fullmatch(value.name):
            is_integer = "true" if _INTEGER.fullmatch(value.name) else "false"
            said = message(f"comparing an integer with the text {quoted(value.name)}")
            return self._macro("like_text", self.sql(value), f"typeof({shown})", is_integer, said)
        if not value.is_string and "." in value.name:
            number = self.sql(value)
            return self._macro("like_number", number, f"typeof({number})", f"typeof({shown})")
        return None

    def _in_comparison(self, node: exp.Expr, others: list[exp.Expr]) -> str:
        """A value that is compared with others."""
        text = self.sql(node)
        if not isinstance(node, (exp.Column, exp.Boolean)):
            return text
        flags = any(isinstance(each, exp.Boolean) for each in others)
        numbers = any(sort_of(each) == "number" for each in others)
        if isinstance(node, exp.Boolean):
            if numbers:
                raise refused("a BOOLEAN beside a number", "is an error; CAST one of them")
            return text
        if not flags and not numbers:
            return text
        return self._macro("flag" if flags else "no_flag", text, message("comparing a BOOLEAN with a number"))

    def column_sql(self, expression: exp.Column) -> str:
        text, parent = super().column_sql(expression), expression.parent
        condition = isinstance(parent, (exp.And, exp.Or, exp.Not, exp.Where, exp.Having, exp.Qualify)) or (
            isinstance(parent, exp.If)
            and expression.arg_key == "this"
            and not (isinstance(parent.parent, exp.Case) and parent.parent.this)
        )
        return self._macro("flag", text, message("a number as a condition")) if condition else text

    def between_sql(self, expression: exp.Between) -> str:
        this = self._in_comparison(expression.this, [expression.args["low"], expression.args["high"]])
        low, high = (
            self._like_column(expression.args[each], expression.this) or self.sql(expression, each)
            for each in ("low", "high")
        )
        return f"{this} BETWEEN {low} AND {high}"

    def in_sql(self, expression: exp.In) -> str:
        if expression.expressions and not isinstance(expression.parent, exp.Pivot):
            made = [self._like_column(each, expression.this) for each in expression.expressions]
            shown = self._in_comparison(expression.this, expression.expressions)
            for each, text in zip(list(expression.expressions), made, strict=True):
                if text is not None:
                    each.replace(exp.Var(this=text))
            expression.set("this", exp.Var(this=shown))
        text = super().in_sql(expression)
        if not expression.args.get("query") or (value := _value_of_null(expression)) is None:
            return text
        if expression.this.find(exp.Null) is not None:
            raise refusal("NULL IN (SELECT ..) as a value", "write FALSE, or NULL")
        return f"coalesce({text}, {value})"

    def nullsafeeq_sql(self, expression: exp.NullSafeEQ) -> str:
        return self._compared("IS NOT DISTINCT FROM", expression)

    def nullsafeneq_sql(self, expression: exp.NullSafeNEQ) -> str:
        return self._compared("IS DISTINCT FROM", expression)


def _value_of_null(node: exp.Expr) -> str | None:
    """What Spark has in place of the NULL of `x IN (SELECT ..)`: FALSE, or TRUE below a NOT, which it moves inwards.

    None in a condition that chooses rows or branches, where it is no other than NULL.
    """
    value, above = False, node.parent
    while isinstance(above, (exp.And, exp.Or, exp.Paren, exp.Not)):
        value ^= isinstance(above, exp.Not)
        node, above = above, above.parent
    first = node.arg_key == "this"
    of_value = isinstance(above, exp.If) and isinstance(above.parent, exp.Case) and above.parent.this is not None
    if isinstance(above, _EQUALITIES) or (first and (of_value or isinstance(above, exp.Case))):
        raise refusal("IN (SELECT ..) compared with a BOOLEAN", "write it as a condition of its own, or NOT before it")
    decides = first and isinstance(above, exp.If)
    if decides or isinstance(above, (exp.Where, exp.Having, exp.Qualify, exp.Join, exp.Merge, exp.When)):
        return None
    if isinstance(above.find_ancestor(exp.Join, exp.Select) if above is not None else None, exp.Join):
        raise refusal("IN (SELECT ..) as a value within ON", "write it as a condition of its own, or in WHERE")
    return str(value).upper()
