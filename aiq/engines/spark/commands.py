"""Which commands may hold a call, and where those that write rows keep their query.

Knows Spark's commands by name; must never know how answers are had.
"""

from __future__ import annotations

from aiq.engines.spark.catalyst import Catalyst, Node
from aiq.engines.spark.prepare import DIALECT, PREFIX
from aiq.errors import StatementError
from aiq.sql import calls

_QUERIES = {
    "InsertIntoStatement": "query",
    "OverwriteByExpression": "query",  # INSERT .. REPLACE WHERE
    "CreateTableAsSelect": "query",
    "ReplaceTableAsSelect": "query",
    "InsertIntoDir": "child",
}
"""The commands that write the rows of a query, and the field that holds it."""
_OTHERS = frozenset(
    {
        *("DeleteFromTable", "UpdateTable", "MergeIntoTable"),
        *("ExplainCommand", "DescribeQueryCommand", "SetVariable", "CompoundBody", "ExecuteImmediateQuery"),
    }
)
_CREATES = {"CreateDataSourceTableAsSelectCommand": "table", "CreateHiveTableAsSelectCommand": "tableDesc"}
"""The commands that create a table of no other catalog, and the field that describes it."""
_WRITES = ("AppendData", "OverwriteByExpression", "OverwritePartitionsDynamic")
_EVOLVES = "spark.databricks.delta.schema.autoMerge.enabled"


def check_command(catalyst: Catalyst, command: Node, text: str) -> None:
    """Raises StatementError for a command that would keep a call, or evaluate it where no answer can be had before."""
    if catalyst.kind(command) == "UnresolvedWith":
        command = catalyst.children(command)[0]
    kind = catalyst.kind(command)
    if kind == "OverwriteByExpression" and _calls(catalyst, catalyst.value_of(command, "deleteExpr")):
        raise StatementError(
            "REPLACE WHERE decides by columns of the table only, not by a call. DELETE the rows with session.sql, and "
            "INSERT the others"
        )
    if kind == "CreateVariable":
        raise StatementError(
            "a variable cannot begin with an answer. Declare it alone, then SET VARIABLE name = (SELECT ai_query(...))"
        )
    if catalyst.is_command(command) and kind not in _QUERIES and kind not in _OTHERS:
        words = " ".join(text[token.start : token.end + 1] for token in calls.tokenize(text, DIALECT)[:2])
        raise StatementError(
            f"{words.upper()} cannot hold an AI call: Spark would keep it, or ask again whenever it likes. Write the "
            "answers into a column (CREATE TABLE .. AS SELECT, UPDATE), and use the column here"
        )


def creates_what_is_there(catalyst: Catalyst, command: Node) -> bool:
    """Whether a command creates a table that there is, so that it asks nothing.

    Runs nothing; raises what is wrong with the command: Spark's errors, and StatementError for what Delta says late.
    """
    analyzed = catalyst.analyzed(command)
    kind = catalyst.kind(analyzed)
    if kind == "CreateTableAsSelect":
        name = catalyst.value_of(analyzed, "name")
        return bool(name.catalog().tableExists(name.identifier()))
    if kind in _CREATES:
        return catalyst.table_exists(catalyst.value_of(analyzed, _CREATES[kind]).identifier())
    if kind in _WRITES and catalyst.spark.conf.get(_EVOLVES, "false") != "true":
        given, held = (len(catalyst.output(catalyst.value_of(analyzed, name))) for name in ("query", "table"))
        if given > held:
            raise StatementError(
                f"the query gives {given} columns, and the table has {held}; name the columns to write, or set "
                f"{_EVOLVES} to true to have Delta add the others"
            )
    return False


def query_of(catalyst: Catalyst, command: Node) -> tuple[Node, int, Node] | None:
    """A command that writes the rows of a query, the field that holds it, and the query; None for all others."""
    around = None
    if catalyst.kind(command) == "UnresolvedWith" and catalyst.kind(catalyst.children(command)[0]) in _QUERIES:
        around, command = command, catalyst.children(command)[0]
    kind = catalyst.kind(command)
    if kind not in _QUERIES:
        return None
    position = catalyst.field(command, _QUERIES[kind])
    assert position is not None
    query = command.productElement(position)
    return command, position, query if around is None else catalyst.with_children(around, [query])


def _calls(catalyst: Catalyst, expression: Node) -> bool:
    """Whether an expression that is not looked up yet holds a call."""

    def is_call(node: Node) -> bool:
        return catalyst.kind(node) == "UnresolvedFunction" and str(node.nameParts().last()).startswith(PREFIX)

    return catalyst.any(expression, is_call)
