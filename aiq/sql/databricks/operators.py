"""Operators in DuckDB's words: arithmetic, intervals, texts side by side, LIKE, bits."""

from __future__ import annotations

import re

from sqlglot import exp

from aiq.sql.databricks import functions
from aiq.sql.databricks.arithmetic import arithmetic
from aiq.sql.databricks.comparisons import Comparisons
from aiq.sql.databricks.date_calls import UNITS
from aiq.sql.databricks.intervals import amount, is_interval
from aiq.sql.databricks.words import all_binary, message, name_of, piece, refusal

_ODD_ESCAPE = re.compile(r"(?:[^\\]|\\[%_\\])*\\(?![%_\\])", re.DOTALL)
"""An escape of LIKE before another letter, or at the end: an error in Spark."""


class Operators(Comparisons):
    """Prints operators for DuckDB."""

    def add_sql(self, expression: exp.Add) -> str:
        return arithmetic(expression, self.sql) or self._moved("", expression)

    def sub_sql(self, expression: exp.Sub) -> str:
        return arithmetic(expression, self.sql) or self._moved("-", expression)

    def _moved(self, sign: str, expression: exp.Binary) -> str:
        """A date or a time, and an interval that is added or taken away."""
        left, right = expression.this, expression.expression
        date, interval = (right, left) if is_interval(left) else (left, right)
        if is_interval(date):
            raise refusal("arithmetic of two intervals has no exact counterpart on DuckDB")
        said = message("the operator + of these types")
        if (known := amount(interval)) is not None:
            macro = "by_days" if known.whole_days else "by_time"
            return self._macro(macro, self.sql(date), known.text(-1 if sign else 1), said)
        if not isinstance(interval, exp.Interval):
            raise refusal(f"the interval {interval.sql('databricks')} has no exact counterpart on DuckDB")
        macro = "by_days" if _unit(interval) in ("YEAR", "MONTH", "WEEK", "DAY") else "by_time"
        return self._macro(macro, self.sql(date), f"{sign}{self.sql(interval)}", said)

    def mul_sql(self, expression: exp.Mul) -> str:
        return self._numbers(expression)

    def div_sql(self, expression: exp.Div) -> str:
        return self._numbers(expression)

    def intdiv_sql(self, expression: exp.IntDiv) -> str:
        return self._numbers(expression)

    def mod_sql(self, expression: exp.Mod) -> str:
        return self._numbers(expression)

    def _numbers(self, expression: exp.Binary) -> str:
        if (made := arithmetic(expression, self.sql)) is None:
            raise refusal(f"{expression.sql('databricks')[:60]} has no exact counterpart on DuckDB")
        return made

    def neg_sql(self, expression: exp.Neg) -> str:
        """DuckDB takes a wider type for a constant that its own cannot hold; a product has the type and fails."""
        value = expression.this.unnest()
        if isinstance(value, exp.Literal):
            if value.is_string:
                raise refusal("a minus sign before a string has no exact counterpart on DuckDB", "CAST it to a number")
            return f"CAST('-{value.name}' AS BIGINT)" if value.name == str(2**63) else f"-{self.sql(value)}"
        if value.find(exp.Column) is None:
            return f"({self.sql(expression, 'this')} * CAST(-1 AS TINYINT))"
        return super().neg_sql(expression)

    def interval_sql(self, expression: exp.Interval) -> str:
        unit = _unit(expression)
        if not isinstance(expression.parent, (exp.Add, exp.Sub)):
            raise refusal("an INTERVAL that is not added to a date has no exact counterpart on DuckDB")
        if unit not in UNITS:
            raise refusal(f"the interval {expression.sql('databricks')} has no exact counterpart on DuckDB")
        value = expression.this
        if isinstance(value, exp.Literal):
            raise refusal(f"the interval {expression.sql('databricks')} has no exact counterpart on DuckDB")
        return f"{UNITS[unit]}({self.sql(value)})"

    def dpipe_sql(self, expression: exp.DPipe) -> str:
        sides: list[exp.Expr] = []
        node: exp.Expr = expression
        while isinstance(node, exp.DPipe):
            sides.append(node.expression)
            node = node.this
        parts = [node, *reversed(sides)]
        if any(isinstance(each, (exp.Add, exp.Sub)) for each in parts[1:]):  # Spark joins first: from left to right
            raise refusal("|| before + or - without parentheses", "put a + b in parentheses: 'x' || (a + b)")
        texts = [self.sql(each) if all_binary(parts) else self._text(each) for each in parts]
        return (
            " || ".join(texts)
            if not isinstance(expression.parent, (exp.Binary, exp.Cast))
            else f"({' || '.join(texts)})"
        )

    def _text(self, node: exp.Expr) -> str:
        return self.sql(node) if name_of(node) == "ai_query" else piece(node, self.sql)

    def like_sql(self, expression: exp.Like) -> str:
        return self._like(expression, "LIKE")

    def ilike_sql(self, expression: exp.ILike) -> str:
        return self._like(expression, "ILIKE")

    def _like(self, expression: exp.Binary, word: str) -> str:
        this, pattern, escape = expression.this, expression.expression, "\\"
        parent = expression.parent
        if isinstance(parent, exp.Escape):
            escape = parent.expression.name
            if len(escape) != 1:
                raise refusal("ESCAPE without one letter has no exact counterpart on DuckDB")
            escape = escape.replace("'", "''")
        if isinstance(pattern, exp.Literal) and escape == "\\" and _ODD_ESCAPE.match(pattern.name):
            raise refusal(f"the pattern {pattern.sql()} of LIKE", "put the escape before %, _ or itself only")
        left = self.sql(this)
        if expression.args.get("negate"):
            word = f"NOT {word}"
        if isinstance(pattern, (exp.Any, exp.All)):
            each = pattern.this.expressions if isinstance(pattern.this, exp.Tuple) else [pattern.this.unnest()]
            joined = " OR " if isinstance(pattern, exp.Any) else " AND "
            return "(" + joined.join(f"{left} {word} {self.sql(one)} ESCAPE '{escape}'" for one in each) + ")"
        return f"({left} {word} {self.sql(pattern)} ESCAPE '{escape}')"

    def escape_sql(self, expression: exp.Escape) -> str:
        if not isinstance(expression.this, (exp.Like, exp.ILike)):
            raise refusal("ESCAPE without LIKE has no exact counterpart on DuckDB")
        return self.sql(expression, "this")

    def concat_sql(self, expression: exp.Concat) -> str:
        """Literals side by side, the only form that is no call."""
        return self.sql(exp.Literal.string("".join(each.name for each in expression.expressions)))

    def strposition_sql(self, expression: exp.StrPosition) -> str:
        parts = [expression.args["substr"], expression.this, expression.args.get("position")]
        return functions.call("position", [each for each in parts if each is not None], self.sql)

    def overlay_sql(self, expression: exp.Overlay) -> str:
        parts = [expression.this, expression.expression, expression.args.get("from_"), expression.args.get("for_")]
        return functions.call("overlay", [each for each in parts if each is not None], self.sql)

    def bitwiseleftshift_sql(self, expression: exp.BitwiseLeftShift) -> str:
        return functions.call("shiftleft", [expression.this, expression.expression], self.sql)

    def bitwiserightshift_sql(self, expression: exp.BitwiseRightShift) -> str:
        return functions.call("shiftright", [expression.this, expression.expression], self.sql)

    def regexplike_sql(self, expression: exp.RegexpLike) -> str:
        made = functions.call("rlike", [expression.this, expression.expression], self.sql)
        return f"(NOT {made})" if expression.args.get("negate") else made

    def bitwisexor_sql(self, expression: exp.BitwiseXor) -> str:
        return f"xor({self.sql(expression, 'this')}, {self.sql(expression, 'expression')})"


def _unit(interval: exp.Interval) -> str:
    unit = interval.args.get("unit")
    name = unit.name.upper() if isinstance(unit, exp.Var) else ""
    return name.removesuffix("S")
