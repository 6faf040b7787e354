"""Rules that let DuckDB evaluate an AI call for fewer rows. They change DuckDB's own tree, one rule a file.

Each keeps the statement's result. `before/after` examples: tests/unit/engines/duckdb/rewrite/rules/*.sql.
"""

from __future__ import annotations

from collections.abc import Callable

from aiq.engines.duckdb.rewrite.rules.call_out_of_subquery import call_out_of_subquery
from aiq.engines.duckdb.rewrite.rules.cheap_before_ai import cheap_before_ai
from aiq.engines.duckdb.rewrite.rules.filter_before_call import filter_before_call
from aiq.engines.duckdb.rewrite.rules.lateral_guard import lateral_guard
from aiq.engines.duckdb.rewrite.tree import Query


def apply_rules(query: Query, cost: Callable[[int], float]) -> None:
    """Changes a query by all rules. `cost` gives what one request of a numbered call site costs, in any unit."""
    root = {"query": query.node}
    call_out_of_subquery(root)
    lateral_guard(root)
    filter_before_call(root)
    cheap_before_ai(root, cost)
