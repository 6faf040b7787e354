# ruff: noqa: RUF012 -- long lines of advice, and class attributes as sqlglot wants them
"""What makes rows in DuckDB's words: LATERAL VIEW, VALUES, INSERT, MERGE."""

from __future__ import annotations

from sqlglot import exp

from aiq.sql.databricks.aggregated import with_texts_of_outer_columns
from aiq.sql.databricks.generators import columns
from aiq.sql.databricks.groups import check_groups, with_group_sets
from aiq.sql.databricks.one_type import check_values
from aiq.sql.databricks.operators import Operators
from aiq.sql.databricks.words import name_of, refusal


class Raw(exp.Expression):
    """A text of DuckDB's in a tree."""

    arg_types = {"this": True}


class Rows(Operators):
    """Prints SELECT, VALUES and statements that write for DuckDB."""

    _laterals = 0

    def _next_lateral(self) -> int:
        self._laterals += 1
        return self._laterals

    def select_sql(self, expression: exp.Select) -> str:
        check_groups(expression)
        laterals = expression.args.get("laterals") or []
        from_ = expression.args.get("from_")
        with_group_sets(expression)
        _with_order(expression)
        joins = expression.args.get("joins") or []
        for join in joins:
            bare = not any(join.args.get(each) for each in ("on", "using", "side", "kind", "method"))
            if isinstance(join.this, exp.Lateral) and bare and join.text("kind") == "":
                join.set("kind", "CROSS")
        if laterals and from_ is not None:  # over all that is joined before
            expression.set("laterals", None)
            expression.set("joins", None)
            made = [*(self.sql(each) for each in joins), *(self._lateral(each) for each in laterals)]
            from_.set("this", exp.Table(this=Raw(this=self.sql(from_.this) + "".join(made))))
        return super().select_sql(expression)

    def _lateral(self, lateral: exp.Lateral) -> str:
        call, alias = lateral.this, lateral.args.get("alias")
        names = [self.sql(each) for each in alias.columns] if alias is not None else []
        outer = lateral.args.get("outer") or name_of(call).endswith("_outer")
        table = self.sql(alias.this) if alias is not None and alias.this else f"aiq_lateral_{self._next_lateral()}"
        made = columns(call, names, self.sql)
        query = f"LATERAL (SELECT {with_texts_of_outer_columns(made)}) AS {table}"
        return f" LEFT JOIN {query} ON TRUE" if outer else f" CROSS JOIN {query}"

    def lateral_sql(self, expression: exp.Lateral) -> str:
        return with_texts_of_outer_columns(super().lateral_sql(expression))

    def _raw_sql(self, expression: exp.Expr) -> str:
        return str(expression.this)

    def tablesample_sql(self, expression: exp.TableSample, tablesample_keyword: str | None = None) -> str:
        raise refusal("TABLESAMPLE picks other rows on DuckDB", "use LIMIT")

    def values_sql(self, expression: exp.Values, values_as_table: bool = True) -> str:
        check_values(expression)
        alias, parent = expression.args.get("alias"), expression.parent
        if isinstance(parent, exp.Insert):
            return super().values_sql(expression, values_as_table)
        if alias is None or not alias.columns:  # Spark's names
            first = expression.expressions[0]
            names = [
                exp.to_identifier(f"col{i}")
                for i in range(1, 1 + len(first.expressions if isinstance(first, exp.Tuple) else [first]))
            ]
            name = alias.this if alias is not None and alias.this else exp.to_identifier("aiq_values")
            expression.set("alias", exp.TableAlias(this=name, columns=names))
        if isinstance(parent, (exp.From, exp.Join, exp.Merge)):
            return super().values_sql(expression, values_as_table)
        behind = [self.sql(made) for key in ("order", "limit", "offset") if (made := expression.args.pop(key, None))]
        return f"SELECT * FROM {super().values_sql(expression, values_as_table)}{''.join(behind)}"

    def create_sql(self, expression: exp.Create) -> str:
        _say_schema(expression)
        return super().create_sql(expression)

    def drop_sql(self, expression: exp.Drop) -> str:
        _say_schema(expression)
        return super().drop_sql(expression)

    def insert_sql(self, expression: exp.Insert) -> str:
        if expression.args.get("overwrite"):
            return self._overwritten(expression)
        if expression.args.get("where"):
            return self._replaced(expression)
        return super().insert_sql(expression)

    def when_sql(self, expression: exp.When) -> str:
        then = expression.args.get("then")
        if isinstance(then, exp.Update) and then.expressions:
            for each in then.expressions:
                if isinstance(each, exp.EQ) and isinstance(each.this, exp.Column):
                    each.this.set("table", None)
        return super().when_sql(expression)

    def _overwritten(self, expression: exp.Insert) -> str:
        """INSERT OVERWRITE as one statement, which deletes and inserts or does neither: a MERGE that matches no row."""
        target, names, query = self._new_rows("INSERT OVERWRITE", expression, {"overwrite"})
        columns = ", ".join(f"aiq_{i}" for i, _ in enumerate(names))
        columns = f"({columns})" if names else ""
        inserted = f" ({', '.join(names)}) VALUES {columns}" if names else ""
        return (
            f"MERGE INTO {target} USING {query} AS aiq_source{columns} ON FALSE "
            f"WHEN NOT MATCHED BY SOURCE THEN DELETE WHEN NOT MATCHED THEN INSERT{inserted}"
        )

    def _replaced(self, expression: exp.Insert) -> str:
        """INSERT .. REPLACE WHERE as such a MERGE; a new row that the condition does not hold for ends it."""
        condition = expression.args["where"]
        if condition.find(exp.Query) is not None or any(
            name_of(each).startswith("ai_") for each in condition.find_all(exp.Anonymous)
        ):
            raise refusal(
                "REPLACE WHERE decides by columns of the table only, not by a call or a query",
                "DELETE the rows, and INSERT the new ones",
            )
        target, names, query = self._new_rows("INSERT .. REPLACE WHERE", expression, {"where"})
        if not names:
            raise refusal(
                f"INSERT .. REPLACE WHERE finds no columns of {target} here",
                f"write INSERT INTO {target} (column, ..)",
            )
        table = expression.find(exp.Table)
        for column in condition.find_all(exp.Column):
            if table is not None and column.table.lower() == table.name.lower():  # the table's, and the new rows'
                column.set("table", None)
        shown = self.sql(condition)
        return (
            f"MERGE INTO {target} USING {query} AS new_rows({', '.join(names)}) ON FALSE "
            f"WHEN NOT MATCHED BY SOURCE AND ({shown}) THEN DELETE "
            f"WHEN NOT MATCHED AND (({shown}) IS NOT TRUE) "
            "THEN ERROR 'a new row is not one that REPLACE WHERE replaces' "
            f"WHEN NOT MATCHED THEN INSERT ({', '.join(names)}) "
            f"VALUES ({', '.join(f'new_rows.{each}' for each in names)})"
        )

    def _new_rows(self, words: str, expression: exp.Insert, known: set[str]) -> tuple[str, list[str], str]:
        """The table of an INSERT that replaces rows, the columns that it lists, and its query in parentheses."""
        parts = {key for key, value in expression.args.items() if value} - {
            "this", "expression", "with_", "is_function", *known,
        }  # fmt: skip
        query = expression.expression
        if parts or not isinstance(query, (exp.Query, exp.Values, exp.Table)):
            raise refusal(
                f"{words} with {', '.join(sorted(parts)) or 'this'} has no exact counterpart on DuckDB",
                f"write {words.replace('..', 'INTO t')} SELECT .., or DELETE and INSERT",
            )
        target, names = expression.this, []
        if isinstance(target, exp.Schema):
            target, names = target.this, [self.sql(each) for each in target.expressions]
        before = self.sql(expression, "with_")
        shown = self.sql(query) if isinstance(query, exp.Query) else f"FROM {self.sql(query)}"
        return self.sql(target), names, f"({before} {shown})"


def _say_schema(node: exp.Create | exp.Drop) -> None:
    """DATABASE is Databricks' other word for a schema."""
    if node.text("kind").upper() == "DATABASE":
        node.set("kind", "SCHEMA")


def _with_order(select: exp.Select) -> None:
    """SORT BY and CLUSTER BY as an order; DISTRIBUTE BY, which says where rows are computed, is left out."""
    sorts = select.args.pop("sort", None) or select.args.pop("cluster", None)
    select.args.pop("distribute", None)
    if sorts is not None and select.args.get("order") is None:
        select.set("order", exp.Order(expressions=[_ordered(each) for each in sorts.expressions]))


def _ordered(node: exp.Expr) -> exp.Expr:
    return node if isinstance(node, exp.Ordered) else exp.Ordered(this=node, nulls_first=True)
