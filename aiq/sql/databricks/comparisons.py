"""Comparisons and conditions: Spark takes no BOOLEAN for a number and no number for a BOOLEAN, DuckDB does both.

The types are known when DuckDB binds the statement: `b = 1` becomes `no_flag(b, ..) = 1`, which refuses a BOOLEAN there
and is `b = 1` for DuckDB's optimizer. Two columns are compared as they are.
"""

from __future__ import annotations

from sqlglot import exp
from sqlglot.generators.duckdb import DuckDBGenerator

from aiq.sql.databricks.functions import sort_of
from aiq.sql.databricks.macros import SCHEMA
from aiq.sql.databricks.words import makes_nested, message, refused


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
        if sign in ("<", "<=", ">", ">=") and (makes_nested(left) or makes_nested(right)):
            raise refused(f"the operator {sign} of arrays or structs", "places NULL otherwise on DuckDB")
        return f"{self._beside(left, [right])} {sign} {self._beside(right, [left])}"

    def _beside(self, node: exp.Expr, others: list[exp.Expr]) -> str:
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
        this = self._beside(expression.this, [expression.args["low"], expression.args["high"]])
        return f"{this} BETWEEN {self.sql(expression, 'low')} AND {self.sql(expression, 'high')}"

    def in_sql(self, expression: exp.In) -> str:
        if expression.expressions and not isinstance(expression.parent, exp.Pivot):
            expression.set("this", exp.Var(this=self._beside(expression.this, expression.expressions)))
        return super().in_sql(expression)

    def nullsafeeq_sql(self, expression: exp.NullSafeEQ) -> str:
        return self._compared("IS NOT DISTINCT FROM", expression)

    def nullsafeneq_sql(self, expression: exp.NullSafeNEQ) -> str:
        return self._compared("IS DISTINCT FROM", expression)
