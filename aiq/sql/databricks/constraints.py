"""Constraints of tables: keys only inform on Databricks, CHECK and NOT NULL hold."""

from __future__ import annotations

from sqlglot import exp

from aiq.sql.databricks.words import refusal


def with_duckdb_constraints(tree: exp.Expr) -> None:
    """Leaves the keys of a CREATE TABLE out, whose columns are NOT NULL, and has CHECK refuse NULL as Delta does.

    `(id INT PRIMARY KEY, n INT, CHECK (n > 0))` becomes `(id INT NOT NULL, n INT, CHECK ((n > 0) IS TRUE))`. Raises
    StatementError for a default that is computed.
    """
    if isinstance(tree, exp.Alter):
        _with_one_column(tree)
    if not isinstance(tree, exp.Create) or not isinstance(tree.this, exp.Schema):
        return
    keys: set[str] = set()
    kept: list[exp.Expr] = []
    for item in tree.this.expressions:
        inner = item.expressions[0] if isinstance(item, exp.Constraint) and len(item.expressions) == 1 else item
        if isinstance(inner, exp.PrimaryKey):
            keys |= {each.name.lower() for each in inner.expressions}
        elif not isinstance(inner, exp.ForeignKey):
            kept.append(item)
    for item in kept:
        if isinstance(item, exp.ColumnDef):
            item.set("constraints", _constraints(item, is_key=item.name.lower() in keys))
    tree.this.set("expressions", kept)
    for check in tree.this.find_all(exp.CheckColumnConstraint):
        true = exp.Is(this=exp.Paren(this=check.this.copy()), expression=exp.Boolean(this=True))
        check.set("this", true)


def _constraints(column: exp.ColumnDef, *, is_key: bool) -> list[exp.Expr]:
    """The constraints of a column that DuckDB is to hold."""
    kept = []
    for each in column.args.get("constraints") or []:
        kind = each.args.get("kind")
        is_key = is_key or isinstance(kind, (exp.PrimaryKeyColumnConstraint, exp.NotNullColumnConstraint))
        default = kind.this if isinstance(kind, exp.DefaultColumnConstraint) else None
        if default is not None and default.find(exp.Column, exp.Query, exp.Anonymous) is not None:
            raise refusal(
                f"{column.sql('databricks')[:60]} has no exact counterpart on DuckDB", "write the value in INSERT"
            )
        if not isinstance(kind, (exp.PrimaryKeyColumnConstraint, exp.NotNullColumnConstraint, exp.Reference)):
            kept.append(each)
    if is_key:
        kept.append(exp.ColumnConstraint(kind=exp.NotNullColumnConstraint()))
    return kept


def _with_one_column(alter: exp.Alter) -> None:
    """`ADD COLUMNS (a INT)` as `ADD COLUMN a INT`."""
    actions = alter.args.get("actions") or []
    if len(actions) == 1 and isinstance(actions[0], exp.Schema):
        if len(actions[0].expressions) != 1:
            raise refusal("ADD COLUMNS of several columns is one statement each on DuckDB", "write ADD COLUMN for each")
        alter.set("actions", list(actions[0].expressions))
