"""Groups of Databricks' SQL that DuckDB would make otherwise, which only the types and names of its columns tell.

Spark groups MAPs by what they hold, DuckDB also by the order of their keys; ALL is a column of that name in Spark where
there is one. Such a statement is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

import duckdb

from aiq.engines.duckdb.rewrite import tree
from aiq.engines.duckdb.rewrite.tree import Node, Query
from aiq.engines.duckdb.set_types import Describe, Types, describing, queries_of, query_nodes
from aiq.sql.databricks.words import refusal

_GROUPS = re.compile(r"\b(group|order)\s+by\b", re.IGNORECASE)
_COUNT = "count(*)"
Asked = Callable[[list[Node]], Types]


def check_groups_of_types(con: duckdb.DuckDBPyConnection, text: str) -> None:
    """Raises StatementError where a GROUP BY of a translated statement would make other groups than Spark.

    `SELECT m, count(*) FROM t GROUP BY m`, `m` a MAP. What DuckDB cannot look at alone is left as it is.
    """
    if _GROUPS.search(text) is None:
        return
    for query in queries_of(text):
        describe, names = describing(con, text), describing(con, text, names=True)
        for node, ctes in query_nodes(query.node, [], "SELECT_NODE"):
            columns = partial(_asked, query, node, ctes, names)
            if (word := _all(node)) and "all" in map(str.lower, columns([tree.expression("*")]) or []):
                raise refusal(f"{word} BY ALL over a column with the name all", "name the columns")
            _check_having(node, columns)
            kinds = partial(_asked, query, node, ctes, describe)
            together = kinds(_numbered(node)) if node["group_expressions"] else None  # one look, where all are columns
            found = [together] if together is not None else map(kinds, ([key] for key in _keys(node, kinds)))
            for key_types in found:
                if any("MAP(" in kind for kind in key_types or []):
                    raise refusal(
                        "GROUP BY of a MAP: DuckDB compares the order of the keys, too",
                        "group by array_sort(map_entries(..))",
                    )


def _asked(query: Query, select: Node, ctes: list[Node], describe: Describe, items: list[Node]) -> Types:
    """The types or names of some items over the tables of a SELECT; None where DuckDB cannot say."""
    alone = query.with_node(tree.selected(select, tree.copied(items)))
    alone.node["cte_map"]["map"] = tree.copied(ctes)
    return describe(alone)


def _check_having(select: Node, columns: Asked) -> None:
    """HAVING reads a column of the groups before an item of its name in Spark, and after it on DuckDB."""
    if select["having"] is None:
        return
    items = [each for each in select["select_list"] if each["alias"] and tree.bare_name(each) != each["alias"].lower()]
    keys = tree.bare_names(select["group_expressions"] or select["select_list"])
    read = {each["alias"].lower() for each in items} & keys & tree.bare_names(select["having"])
    known = columns([tree.expression("*")]) if read else []
    if found := sorted(read if known is None else read & {name.lower() for name in known}):
        raise refusal(
            f"HAVING reads {found[0]}, which is a column and another value of SELECT", "name that value otherwise"
        )


def _all(select: Node) -> str:
    """The word before BY ALL, if a SELECT has it."""
    if select["aggregate_handling"] == "FORCE_AGGREGATES":
        return "GROUP"
    order = tree.modifier(select, "ORDER_MODIFIER")
    stars = [each for each in (order or {"orders": []})["orders"] if each["expression"].get("class") == "STAR"]
    return "ORDER" if stars else ""


def _numbered(select: Node) -> list[Node]:
    """What GROUP BY names, with the items of the list in the place of their numbers."""
    items, made = select["select_list"], []
    for key in select["group_expressions"]:
        number = tree.integer_of(key)
        made.append(items[number - 1] if number is not None and 0 < number <= len(items) else key)
    return made


def _keys(select: Node, asked: Asked) -> Iterator[Node]:
    """What a SELECT groups by, with the items of its list that it names by number or alias."""
    items = select["select_list"]
    if select["aggregate_handling"] == "FORCE_AGGREGATES":
        yield from (each for each in items if asked([each, tree.expression(_COUNT)]) is None)
    for key in _numbered(select):
        if asked([key]) is None and (name := tree.bare_name(key)) is not None:
            yield from (each for each in items if each.get("alias", "").lower() == name.lower())
        else:
            yield key
