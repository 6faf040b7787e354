# ruff: noqa: E501 -- tables of one line an entry, and class attributes as sqlglot wants them
"""Databricks' SQL in DuckDB's words, by an allow list: what is not on it is refused by name before anything runs.

A node of the parse tree that is not in `_AS_IS` needs a method here; a function needs an entry in `functions.py`.
"""

from __future__ import annotations

from collections.abc import Container

from sqlglot import ErrorLevel, exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.generators.duckdb import DuckDBGenerator

from aiq.sql.databricks import functions
from aiq.sql.databricks.aggregated import with_texts_of_outer_columns, with_typed_aggregates
from aiq.sql.databricks.aggregates import aggregate, made_of, within_group
from aiq.sql.databricks.arithmetic import check_number, decimal_literal
from aiq.sql.databricks.casts import MOMENTS, cast
from aiq.sql.databricks.constraints import with_duckdb_constraints
from aiq.sql.databricks.date_calls import part
from aiq.sql.databricks.decimal_types import named
from aiq.sql.databricks.generators import GENERATORS, columns
from aiq.sql.databricks.intervals import difference
from aiq.sql.databricks.nested_calls import variant_text
from aiq.sql.databricks.one_type import alike, check_union
from aiq.sql.databricks.pivots import without_pivots
from aiq.sql.databricks.read import PLACE
from aiq.sql.databricks.rows import Raw, Rows
from aiq.sql.databricks.templates import AGGREGATES
from aiq.sql.databricks.words import dated, may_fail, message, name_of, quoted, refusal, text_of_concat

_LEFT_OUT = ("Hints are not supported", "Unsupported property", "CommentColumnConstraint")
"""What is left out of a statement without changing its rows: hints, comments, and how Databricks is to store a table."""
_AS_IS: tuple[type[exp.Expr], ...] = (
    exp.Select, exp.From, exp.Join, exp.Where, exp.Group, exp.Having, exp.Qualify, exp.Order, exp.Ordered, exp.Limit,
    exp.Offset, exp.Fetch, exp.With, exp.CTE, exp.Subquery, exp.Union, exp.Intersect, exp.Except, exp.Window,
    exp.WindowSpec, exp.Table, exp.TableAlias, exp.Column, exp.Identifier, exp.Star, exp.Alias, exp.Literal,
    exp.Boolean, exp.Null, exp.And, exp.Or, exp.Not, exp.Paren, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE,
    exp.NullSafeEQ, exp.NullSafeNEQ, exp.Between, exp.In, exp.Is, exp.Case, exp.If, exp.Cast, exp.TryCast,
    exp.DataType, exp.ColumnDef, exp.Interval, exp.Var, exp.Anonymous, exp.Lambda, exp.Kwarg, exp.Dot, exp.Bracket,
    exp.JSONExtract, exp.JSONPath, exp.JSONPathRoot, exp.JSONPathKey, exp.JSONPathSubscript, exp.Values, exp.Tuple,
    exp.Insert, exp.Create, exp.Schema, exp.Merge, exp.Whens, exp.When, exp.Update, exp.Delete, exp.Drop,
    exp.Describe, exp.Command, exp.Use, exp.Set, exp.Distinct, exp.Exists, exp.Filter, exp.WithinGroup,
    exp.IgnoreNulls, exp.RespectNulls, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg, exp.DPipe,
    exp.Like, exp.ILike, exp.RegexpLike, exp.CurrentDate, exp.CurrentTimestamp, exp.Extract, exp.Substring, exp.Trim,
    exp.Lateral, exp.Aliases, exp.Placeholder, exp.Parameter, exp.HexString, exp.Hint, exp.JoinHint, exp.Properties, exp.Property,
    exp.TableSample, exp.Pivot, exp.PivotAlias, exp.Truncate if hasattr(exp, "Truncate") else exp.TruncateTable,
    exp.Alter, exp.Comment, exp.Transaction, exp.Commit, exp.Rollback, exp.Semicolon, exp.DataTypeParam,
    exp.BitwiseAnd, exp.BitwiseOr, exp.BitwiseXor, exp.BitwiseNot, exp.ConnectorOptions
    if hasattr(exp, "ConnectorOptions") else exp.BitwiseNot, exp.Rollup, exp.Cube, exp.GroupingSets, exp.UserDefinedFunction,
    exp.SetItem, exp.AlterColumn, exp.Sort, exp.Distribute, exp.Cluster, exp.IntervalSpan,
    exp.Constraint, exp.CheckColumnConstraint, exp.DefaultColumnConstraint, exp.RenameColumn, exp.ReturnsProperty, exp.Return, exp.Show, exp.Cache, exp.Any, exp.All, exp.Escape, exp.Concat, exp.StrPosition, exp.Overlay, exp.BitwiseLeftShift,
    exp.BitwiseRightShift, exp.ColumnConstraint, exp.NotNullColumnConstraint, exp.CommentColumnConstraint,
)  # fmt: skip
_WORDS = {
    "ArrayType": "an array",
    "Array": "a list in brackets",
    "StartsWith": "startswith",
    "GeneratedAsIdentityColumnConstraint": "an IDENTITY column",
    "ComputedColumnConstraint": "a generated column",
    "CollateColumnConstraint": "a collation",
    "AddConstraint": "ALTER TABLE",
    "AlterSet": "ALTER TABLE",
    "Clone": "CREATE TABLE",
    "Copy": "COPY INTO",
}
_READ: dict[type[exp.Expr], set[str]] = {  # parts of a node that a method below reads; another part would be lost
    exp.Like: {"this", "expression", "negate"},
    exp.ILike: {"this", "expression", "negate"},
    exp.RegexpLike: {"this", "expression"},
    exp.Cast: {"this", "to"},
    exp.TryCast: {"this", "to", "safe"},
    exp.Extract: {"this", "expression"},
    exp.Substring: {"this", "start", "length"},
    exp.Trim: {"this", "position", "expression"},
    exp.Lateral: {"this", "view", "outer", "alias"},
    exp.Bracket: {"this", "expressions", "offset"},
    exp.Aliases: {"this", "expressions"},
}
_WITHOUT_FRAME = frozenset({"row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead"})
_ROWS_SO_FAR = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
Known = Container[str]


def duckdb_text(tree: exp.Expr, known: Known, source: str) -> str:
    """One statement as DuckDB's text. `known` are functions of the user's own, in lower case. Raises StatementError."""
    with_duckdb_constraints(tree)
    for node in tree.walk():
        if type(node) not in _AS_IS and not isinstance(node, exp.Property):
            name = _WORDS.get(type(node).__name__, type(node).__name__)
            raise refusal(f"{name} ({node.sql('databricks')[:60]}) has no exact counterpart on DuckDB")
        if isinstance(node, exp.Tuple) and isinstance(node.parent, exp.Lambda):
            raise refusal("several values in parentheses as one", "write struct(..)")
        if isinstance(node, exp.SetOperation):
            check_union(node)
        if isinstance(node, exp.Literal) and not node.is_string:
            check_number(node.name)
        known_parts = _READ.get(type(node))
        if known_parts is not None and (more := {k for k, v in node.args.items() if v} - known_parts):
            raise refusal(
                f"{node.sql('databricks')[:60]} has no exact counterpart on DuckDB ({', '.join(sorted(more))})"
            )
    without_pivots(tree)
    _name_columns(tree)
    generator = _Generator(known)
    text = with_typed_aggregates(generator.generate(tree, copy=False))
    if lost := [words for words in generator.unsupported_messages if not words.startswith(_LEFT_OUT)]:
        raise refusal(lost[0].strip().rstrip("."))
    return text


def _name_columns(tree: exp.Expr) -> None:
    """Gives expressions in the columns of the outer SELECT their words as a name, as translated they have others."""
    for select in [tree, *tree.find_all(exp.Select)]:
        if not isinstance(select, exp.Select):
            continue
        for item in list(select.expressions):
            plain = (exp.Column, exp.Star, exp.Alias, exp.Aliases, exp.Literal, exp.Dot, exp.Null, exp.Boolean)
            cast = isinstance(item, exp.Literal) and not item.is_string and item.name.startswith("0.")
            if (isinstance(item, plain) and not cast) or name_of(item) in ("ai_query", *GENERATORS):
                continue
            quoted = exp.to_identifier(item.sql("databricks", normalize_functions=False), quoted=True)
            item.replace(exp.alias_(item.copy(), quoted))


class _Generator(Rows):
    """Prints a tree for DuckDB; calls and operators that differ become macros of the schema `SCHEMA`."""

    def __init__(self, known: Known) -> None:
        super().__init__(dialect=DuckDB(), unsupported_level=ErrorLevel.IGNORE)
        self._own = known

    # -- calls

    def anonymous_sql(self, expression: exp.Anonymous) -> str:
        name, arguments = expression.name, expression.expressions
        lower = name.lower()
        if lower == "ai_query" or lower.startswith("ai_") or lower in self._own:
            return f"{name}({', '.join(self.sql(each) for each in arguments)})"
        if any(isinstance(each, exp.Kwarg) for each in arguments):
            raise refusal(f"{name} with named arguments has no exact counterpart on DuckDB")
        if isinstance(expression.parent, (exp.Table, exp.Lateral)) and lower == "range":
            return f"(SELECT range AS id FROM range({', '.join(self.sql(each) for each in arguments)}))"
        if lower in GENERATORS and isinstance(expression.parent, (exp.Select, exp.Alias)):
            made = columns(expression, ["aiq"] if isinstance(expression.parent, exp.Alias) else [], self.sql)
            return made.removesuffix(" AS aiq") if isinstance(expression.parent, exp.Alias) else made
        if lower in GENERATORS and isinstance(expression.parent, (exp.Table, exp.Lateral)):
            alias = expression.parent.args.get("alias")
            names = [self.sql(each) for each in alias.columns] if alias is not None else []
            return f"(SELECT {with_texts_of_outer_columns(columns(expression, names, self.sql))})"
        return functions.call(lower, arguments, self.sql)

    def kwarg_sql(self, expression: exp.Kwarg) -> str:
        return f"{expression.this.name} := {self.sql(expression, 'expression')}"

    def aliases_sql(self, expression: exp.Aliases) -> str:
        return columns(expression.this, [self.sql(each) for each in expression.expressions], self.sql)

    # -- casts, types, parts

    def cast_sql(self, expression: exp.Cast, safe_prefix: str | None = None) -> str:
        value, kind = expression.this, expression.to
        if isinstance(value, exp.Literal) and not value.is_string and kind.this in (exp.DType.BIGINT, exp.DType.DOUBLE):
            return f"CAST({value.name} AS {self.sql(kind)})"
        shown = self.sql(value)
        answers = value.unnest()
        if kind.this == exp.DType.STRUCT and isinstance(answers, exp.Anonymous) and answers.name.lower() == "ai_query":
            return f"CAST({shown} AS {self.sql(kind)})"  # its fields have their names and types by its arguments
        if kind.this in MOMENTS:
            shown = dated(value, MOMENTS[kind.this], self.sql)
        elif isinstance(value, exp.Literal) and value.is_string:
            shown = f"CAST({shown} AS VARCHAR)"
        elif kind.this == exp.DType.TEXT:
            shown = text_of_concat(value, shown)
        safe = isinstance(expression, exp.TryCast)
        return cast(shown, kind, safe=safe, apart=safe and may_fail(value))

    def trycast_sql(self, expression: exp.TryCast) -> str:
        return self.cast_sql(expression)

    def currentdate_sql(self, expression: exp.CurrentDate) -> str:
        return "CAST(now() AS DATE)"

    def currenttimestamp_sql(self, expression: exp.CurrentTimestamp) -> str:
        return "now()"

    def extract_sql(self, expression: exp.Extract) -> str:
        if (sides := difference(expression.expression)) is not None:
            said = message(f"EXTRACT({expression.this.name.upper()} FROM such an interval)")
            unit = quoted(expression.this.name.upper())
            return self._macro("part_apart", *(self.sql(each) for each in sides), unit, said)
        return part(expression.this.name, self.sql(expression, "expression"))

    def substring_sql(self, expression: exp.Substring) -> str:
        return functions.call("substring", [a for a in (expression.this, expression.args.get("start"),
                                                        expression.args.get("length")) if a is not None], self.sql)  # fmt: skip

    def trim_sql(self, expression: exp.Trim, default_trim_type: str = "") -> str:
        where = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(str(expression.args.get("position") or ""), "trim")
        value = self._macro("joined", self.sql(expression, "this"))
        letters = self.sql(expression, "expression") or "' '"
        return f"{where}({value}, {letters})"

    def jsonextract_sql(self, expression: exp.JSONExtract) -> str:
        path = expression.expression
        parts = path.expressions if isinstance(path, exp.JSONPath) else [None]
        written = "$"
        for step in parts:
            if isinstance(step, exp.JSONPathRoot):
                continue
            if isinstance(step, exp.JSONPathKey) and isinstance(step.this, str) and '"' not in step.this:
                written += f'."{step.this}"'
            elif isinstance(step, exp.JSONPathSubscript) and isinstance(step.this, int) and step.this >= 0:
                written += f"[{step.this}]"
            else:
                raise refusal(f"the path {expression.sql('databricks')} has no exact counterpart on DuckDB")
        place = "'" + written.replace("'", "''") + "'"
        cast = expression.parent
        while isinstance(cast, exp.Paren):
            cast = cast.parent
        if isinstance(cast, exp.Cast) and name_of(expression.this) in ("parse_json", "try_parse_json"):
            return variant_text(self.sql(expression, "this"), place, cast.to.sql())
        return self._macro("json_text", self.sql(expression, "this"), place)

    def bracket_sql(self, expression: exp.Bracket) -> str:
        keys = expression.expressions
        if len(keys) != 1 or isinstance(keys[0], exp.Slice):
            raise refusal(f"{expression.sql('databricks')[:60]} has no exact counterpart on DuckDB")
        key = keys[0]
        offset = expression.args.get("offset")
        text = self.sql(key)
        if isinstance(key, exp.Literal) and not key.is_string and offset:
            text = str(int(key.name) - int(offset))
        of_map = name_of(expression.this) in ("map", "map_from_arrays", "map_concat")
        if of_map or (isinstance(key, exp.Literal) and key.is_string):
            return f"{self.sql(expression, 'this')}[{text}]"
        return self._macro("item", self.sql(expression, "this"), text)

    def case_sql(self, expression: exp.Case) -> str:
        cases = [each.this for each in expression.args["ifs"]]
        value = f" {self._in_comparison(expression.this, cases)}" if expression.this else ""
        branches = [each.args["true"] for each in expression.args["ifs"]]
        default = expression.args.get("default")
        made = alike([*branches, *([] if default is None else [default])], "CASE", self.sql)
        whens = "".join(
            f" WHEN {self.sql(each, 'this')} THEN {text}"
            for each, text in zip(expression.args["ifs"], made, strict=False)
        )
        return f"CASE{value}{whens}{'' if default is None else f' ELSE {made[-1]}'} END"

    def literal_sql(self, expression: exp.Literal) -> str:
        if not expression.is_string and expression.name.isdigit() and int(expression.name) >= 2**63:
            raise refusal(f"the number {expression.name} is beyond BIGINT", "write a CAST of its text to DECIMAL")
        digits = None if expression.is_string else decimal_literal(expression.name)
        if digits is not None and expression.name.startswith("0"):  # DuckDB counts the zero
            return f"CAST({expression.name} AS {named(*digits)})"
        return super().literal_sql(expression)

    def placeholder_sql(self, expression: exp.Placeholder) -> str:
        place = expression.meta.get(PLACE)
        return f"${place}" if place else super().placeholder_sql(expression)

    def hexstring_sql(self, expression: exp.HexString, binary_function_repr: str | None = None) -> str:
        return f"unhex('{expression.name}')"

    def window_sql(self, expression: exp.Window) -> str:
        if isinstance(expression.this, exp.Identifier):  # WINDOW w AS (..)
            return super().window_sql(expression)
        return self._around(expression) or super().window_sql(expression)

    def filter_sql(self, expression: exp.Filter) -> str:
        return self._around(expression) or super().filter_sql(expression)

    def ignorenulls_sql(self, expression: exp.IgnoreNulls) -> str:
        if isinstance(expression.this, Raw):
            return str(expression.this.this).removesuffix(")") + " IGNORE NULLS)"
        if isinstance(expression.parent, exp.Window):
            return super().ignorenulls_sql(expression)
        call = expression.this
        if name_of(call) in ("first", "any_value", "first_value") and len(call.expressions) == 1:
            return f"any_value({self.sql(call.expressions[0])})"
        if name_of(call) in ("last", "last_value") and len(call.expressions) == 1:
            value = self.sql(call.expressions[0])
            return f"last({value}) FILTER (WHERE {value} IS NOT NULL)"
        raise refusal(f"{name_of(call)} IGNORE NULLS without OVER has no exact counterpart on DuckDB")

    def withingroup_sql(self, expression: exp.WithinGroup) -> str:
        call = expression.this
        return within_group(name_of(call), call.expressions, expression.expression, self.sql)

    def any_sql(self, expression: exp.Any) -> str:
        raise refusal("any(..) has no exact counterpart on DuckDB", "write bool_or")

    def _around(self, expression: exp.Window | exp.Filter) -> str | None:
        """`f(x) OVER (..)`, where what is made of the result of f stands around all of it."""
        call: exp.Expr = expression
        while isinstance(call, (exp.Window, exp.Filter, exp.IgnoreNulls, exp.RespectNulls)):
            call = call.this
        if isinstance(call, Raw):
            return None
        name = name_of(call)
        if isinstance(expression, exp.Window) and any(isinstance(each, exp.Distinct) for each in call.expressions):
            raise refusal(
                "DISTINCT in a window function is not Databricks SQL", "leave it out, or use size(collect_set(..))"
            )
        frame = expression.args.get("spec") if isinstance(expression, exp.Window) else None
        if (
            frame is not None
            and name in _WITHOUT_FRAME
            and (name in ("lag", "lead") or frame.sql().upper() != _ROWS_SO_FAR)
        ):
            raise refusal(f"{name} over a frame of rows is not Databricks SQL", "leave ROWS BETWEEN .. out")
        if name not in AGGREGATES:
            raise refusal(
                f"{name or call.sql('databricks')[:40]} with OVER or FILTER has no exact counterpart on DuckDB"
            )
        inners, outer = aggregate(name, call.expressions, self.sql)
        if len(inners) > 1 and isinstance(call.parent, (exp.IgnoreNulls, exp.RespectNulls)):
            raise refusal(f"{name} IGNORE NULLS has no exact counterpart on DuckDB", "leave it out")
        raw = Raw(this=inners[0])
        call.replace(raw)
        try:
            text = self._plain(expression)
        finally:
            raw.replace(call)  # an argument may be printed several times
        before, after = text.split(inners[0], 1) if len(inners) > 1 else ("", "")
        return made_of([f"{before}{each}{after}" for each in inners] if len(inners) > 1 else [text], outer)

    def _plain(self, expression: exp.Window | exp.Filter) -> str:
        if isinstance(expression, exp.Window):
            return super().window_sql(expression)
        return super().filter_sql(expression)


_Generator.TRANSFORMS = {
    **{kind: how for kind, how in DuckDBGenerator.TRANSFORMS.items() if kind not in {
        getattr(exp, name) for name in ("IntDiv", "RegexpLike", "DPipe", "CurrentDate", "CurrentTimestamp", "Cast",
        "TryCast", "JSONExtract", "Bracket", "Interval", "Extract", "Like", "ILike", "Lateral", "Mod", "Div", "BitwiseXor",
        "Substring", "Trim", "Concat", "StrPosition", "Overlay", "BitwiseLeftShift", "BitwiseRightShift", "Escape", "NullSafeEQ", "NullSafeNEQ", "Select", "HexString", "TableSample")
    }},
    Raw: lambda self, node: self._raw_sql(node),
}  # fmt: skip
