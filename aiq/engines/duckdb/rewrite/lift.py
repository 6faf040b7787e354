"""What makes a statement ready to run in passes: the query that its calls depend on, as written or rewritten, its
stages, and the rows of it that can be computed once.

Works on text with numbered calls (`__aiq_<type>(<number>, request)`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from aiq.engines.duckdb.rewrite import tree
from aiq.engines.duckdb.rewrite.numbered import PREFIX, has_call, may_aggregate
from aiq.engines.duckdb.rewrite.parts import Parts, Span, parts
from aiq.engines.duckdb.rewrite.raised import picked_inside, picks_rows, raised
from aiq.engines.duckdb.rewrite.rules import apply_rules
from aiq.engines.duckdb.rewrite.rules.cheap_before_ai import filter_condition
from aiq.engines.duckdb.rewrite.rules.guard_merge import guard_merge, merged_values
from aiq.engines.duckdb.rewrite.split import Columns, Describe, Split, described, split
from aiq.engines.duckdb.rewrite.split_union import split_union
from aiq.engines.duckdb.rewrite.stages import Stages, of_clause, one_after_the_other, stages
from aiq.engines.duckdb.rewrite.tree import Node, Query, copied, integer_of, modifier, nodes, selected
from aiq.engines.duckdb.rewrite.unstable import unstable_request
from aiq.sql import calls

_NAME = re.compile(r"\b(\w++)\s*+\(")
_NUMBERED = re.compile(rf"{PREFIX}[0-9a-f]{{12}}\((\d+),", re.IGNORECASE)
_CLOCKS = {"now", "transaction_timestamp", "get_current_timestamp", "get_current_time", "txid_current"}
_CLOCK_WORDS = {"current_time", "current_timestamp", "localtime", "localtimestamp"}
_CLOCK = re.compile(rf"\b(({'|'.join(sorted(_CLOCKS))})\s*\(|({'|'.join(sorted(_CLOCK_WORDS))})\b)", re.IGNORECASE)
_SUBQUERY = re.compile(r"\(\s*(select|from|with)\b", re.IGNORECASE)
_SAMPLING = re.compile(r"\b(using\s+sample|tablesample)\b", re.IGNORECASE)
_OF_UNSTABLE = "its requests are made of {}, which may give another value each time it is evaluated"
_EXACT_TYPES = re.compile(r"(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT|DECIMAL|BOOLEAN|BIGNUM)", re.IGNORECASE)


class MaterializedQuery(NamedTuple):
    """A query that is evaluated before the statement's own, once, into a temporary table called `table`.

    The rest is as of `Lifted`.
    """

    query: str
    table: str
    stages: Stages
    limit: int | None = None
    filters: int = 0


class Lifted(NamedTuple):
    """A statement that can run in passes.

    `text` is the whole statement with numbered calls in the user's own text. `query` is what is evaluated until nothing
    is unknown: its query, or (`writes`) the whole statement, of which what a pass did has to be rolled back. `span` is
    the place of the query in `text`, None where it is all of it. `rows` is evaluated before, where `query` is over it;
    `single` is both as one query. `limit` is set where any `limit` rows that pass an AI filter will do; the first
    `filters` stages are that filter's. `changed` says whether rules rewrote the text; `unchanged` is the query before
    they did. `made` is the table, with the names before it, that a CREATE TABLE must not find there, `replaced` the one
    that it replaces. `names` are the columns of the query as DuckDB names them, None where that is not known; `nulls`
    those, from 0, that have no type. `note` says why more may be asked than the result shows, '' where nothing more is.
    `waits` is why the query must be evaluated once only, with calls that wait for their answers; '' where passes will
    do.
    """

    text: str
    query: str
    stages: Stages
    span: Span | None = None
    rows: MaterializedQuery | None = None
    single: str = ""
    limit: int | None = None
    filters: int = 0
    changed: bool = False
    writes: bool = False
    unchanged: str = ""
    kind: str = "select"
    made: tuple[str, ...] | None = None
    replaced: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    nulls: frozenset[int] = frozenset()
    note: str = ""
    waits: str = ""

    @property
    def all_stages(self) -> Stages:
        """The stages of the rows, then those of the query."""
        return [*(self.rows.stages if self.rows is not None else ()), *self.stages]

    @property
    def waves(self) -> tuple[int | None, int]:
        """The limit up to which a filter is asked, and the stages of that filter."""
        return (self.limit, self.filters) if self.rows is None else (self.rows.limit, self.rows.filters)

    @property
    def in_windows(self) -> bool:
        """Whether the rows come without any answer, and each answer decides on its own row alone."""
        alone = self.rows is not None and not self.rows.stages and self.names is not None
        return alone and self.kind == "select" and len(self.stages) == 1

    def over(self, source: str) -> str:
        """The whole statement with another query in the place of its own."""
        assert self.span is not None
        return f"{self.text[: self.span.start]} {source} {self.text[self.span.end :]}"


class NotLifted(NamedTuple):
    """A statement that runs with calling functions instead, and why."""

    reason: str


def reason_not_to(text: str, volatile: frozenset[str]) -> str | None:
    """Why a statement must not be evaluated more than once, or None. `volatile` are lower-case function names."""
    found = sorted({name.lower() for name in _NAME.findall(text)} & volatile)
    if found:
        return f"it uses {found[0]}(), which gives another value each time it is evaluated"
    if _SAMPLING.search(text):
        return "it samples rows, which gives other rows each time it is evaluated"
    return None


def tells_the_time(text: str) -> bool:
    """Whether SQL names a function of the time of day."""
    return _CLOCK.search(text) is not None


class LiftOptions(NamedTuple):
    """What the plan of a statement is made with.

    `cost` compares call sites by what one request costs; `describe` gives the columns of a query; `new_table`, a name
    for a temporary table. `once` is why the statement must not be evaluated more than once, None where it may. Without
    `rules` the text stays as it is, and more may be asked than the result needs. `apart` says that the rows are wanted
    on their own wherever that can be.
    """

    cost: Callable[[int], float]
    describe: Describe
    new_table: Callable[[], str]
    volatile: frozenset[str] = frozenset()
    once: str | None = None
    rules: bool = True
    apart: bool = False


def lift(text: str, how: LiftOptions) -> Lifted | NotLifted:
    """The plan of a statement with numbered calls."""
    found = parts(text)
    if found is None:
        return NotLifted("it is no query and no statement that changes a table")
    if found.kind in ("update", "delete", "merge"):
        return _lift_change(text, found, how)
    if found.query is None:
        return NotLifted(f"an AI call stands outside of the query of the {found.kind.upper()}")
    query_text = found.query.of(text)
    outside = text[: found.query.start] + text[found.query.end :]
    if _NUMBERED.search(outside):
        return NotLifted(f"an AI call stands outside of the query of the {found.kind.upper()}")
    span = None if found.kind == "select" else found.query
    query = tree.read(query_text)
    plain = Lifted(
        text,
        query_text,
        [_numbers(query_text)],
        span,
        unchanged=query_text,
        kind=found.kind,
        made=found.made,
        replaced=found.replaced,
    )
    if query is None:
        return plain._replace(single=query_text, waits=how.once or "")
    columns = how.describe(query_text)
    if columns is None and found.kind != "select":
        return NotLifted(f"the query of the {found.kind.upper()} means something only in its place")
    names = None if columns is None else tuple(name for name, _ in columns)
    nulls = frozenset(at for at, (_, kind) in enumerate(columns or ()) if kind == '"NULL"')
    plain = plain._replace(stages=stages(query.node), names=names, nulls=nulls, single=query_text)
    return _lift_query(plain, query, columns, how)


def _lift_query(plain: Lifted, query: Query, columns: Columns | None, how: LiftOptions) -> Lifted:
    """The plan of a statement that is a query, or has one."""
    if any(tree.name_of(node) == "alias" for node in nodes(query.node)):  # it tells what a rewritten query would change
        how = how._replace(rules=False, apart=False)
    ruled = query.copy()
    rules = how.rules and not how.once  # they may repeat a condition, which a volatile one is not for
    if rules and columns is not None and any(picks_rows(node) for node in nodes(query.node)):
        for moved in (raised, picked_inside):
            higher = moved(ruled, how.describe, how.volatile)
            if _alike(described(higher, how.describe), columns):
                ruled = higher
    if rules:
        apply_rules(ruled, how.cost)
    if columns is not None and (how.rules or how.once or how.apart):
        picks = any(
            modifier(node, kind) for node in nodes(ruled.node) for kind in ("LIMIT", "DISTINCT") if "modifiers" in node
        )
        unstable = unstable_request(ruled.node, _exact_by(how.describe, query))
        if picks or unstable or how.once or how.apart:
            apart_of = split if ruled.node["type"] == "SELECT_NODE" else split_union
            made = apart_of(ruled, columns, how.describe, how.volatile)
            apart = None if made is None else _apart(plain, made, columns, how)
            if apart is not None:
                return apart
            plain = plain._replace(note=_why_all(ruled.node))
        if unstable:
            plain = plain._replace(waits=_OF_UNSTABLE.format(unstable))
    if how.once:
        plain = plain._replace(waits=how.once)
    if not rules or tree.same(ruled.node, query.node):
        return _in_waves(plain, query)
    text = ruled.text()
    if text is None or columns is None or not _alike(how.describe(text), columns):
        return _in_waves(plain, query)
    return _in_waves(plain._replace(query=text, single=text, stages=stages(ruled.node), changed=True), ruled)


def _why_all(node: Node) -> str:
    """Why the calls of a SELECT list are evaluated for rows that its LIMIT or DISTINCT drops."""
    limit, order, distinct = (modifier(node, kind) for kind in ("LIMIT", "ORDER", "DISTINCT"))
    items = node.get("select_list") or [item for child in node.get("children") or [] for item in child["select_list"]]
    if (limit is None and distinct is None) or not has_call(items):
        return ""
    if distinct is not None and not distinct["distinct_on_targets"]:
        return "asked for every row before LIMIT: DISTINCT compares the answers" if limit is not None else ""
    names = {item["alias"].lower() for item in items if item["alias"] and has_call(item)}
    for key in order["orders"] if order is not None else []:
        used = [part["column_names"][-1].lower() for part in nodes(key) if part["type"] == "COLUMN_REF"]
        if has_call(key) or key["expression"]["type"] == "STAR" or names & set(used):
            return "asked for every row before LIMIT: ORDER BY depends on the answers"
    return "asked for every row before LIMIT: what its rows are cannot be told apart from its answers"


def _apart(plain: Lifted, made: Split, columns: Columns, how: LiftOptions) -> Lifted | None:
    """A query whose rows are computed once; None where DuckDB does not take it so, or where once is not enough."""
    rows, name = made.once(), how.new_table()
    query, single = made.over(name), made.together()
    if rows is None or query is None or single is None or not _alike(how.describe(single), columns):
        return None
    below = stages(made.rows.node)
    unstable = below and unstable_request(made.rows.node, _exact_by(how.describe, made.rows))
    if unstable or (below and how.once):
        return None
    limit, filters = _waves(made.rows.node)
    first = MaterializedQuery(rows, name, below, limit, filters)
    return plain._replace(query=query, single=single, rows=first, stages=stages(made.items), changed=True)


def _alike(found: Columns | None, wanted: Columns) -> bool:
    """Whether columns have the types that they are to have; a column of NULLs has a type only in a table."""

    def kind(column: tuple[str, str]) -> str:
        return column[1].replace('"NULL"', "INTEGER")

    return found is not None and list(map(kind, found)) == list(map(kind, wanted))


def _exact_by(describe: Describe, query: Query) -> Callable[[Node, Node], bool]:
    """Whether the sum of what an aggregate of a SELECT takes is exact, as DuckDB says its type."""

    def exact(aggregate: Node, select: Node) -> bool:
        argument = aggregate["arguments"][0]["expression"] if aggregate["arguments"] else None
        if argument is None or has_call(select["from_table"]):
            return False
        probe = selected(select, [tree.expression("sum(x)", x=argument)])
        if not probe["cte_map"]["map"]:
            probe["cte_map"] = copied(query.node["cte_map"])
        found = described(query.with_node(probe), describe)
        return found is not None and _EXACT_TYPES.match(found[0][1]) is not None

    return exact


def _in_waves(plan: Lifted, query: Query) -> Lifted:
    """A plan with the limit up to which its filter has to be asked, where any rows that pass it will do."""
    limit, filters = _waves(query.node) if plan.kind == "select" else (None, 0)
    return plan._replace(limit=limit, filters=filters)


def _numbers(text: str) -> set[int]:
    return {int(number) for number in _NUMBERED.findall(text)}


def _lift_change(text: str, found: Parts, how: LiftOptions) -> Lifted:
    """An UPDATE, DELETE or MERGE, whose conditions and values are read as those of a SELECT over the same tables."""
    plain = Lifted(text, text, [_numbers(text)], writes=True, kind=found.kind, unchanged=text, single=text)
    plain = plain._replace(waits=how.once or "")
    if _asks_with_the_time(text, found):
        plain = plain._replace(waits="its requests may hold the time, which is another after each rollback")
    query = None if found.target is None else as_query(text, found)
    if query is None:
        return plain
    unstable = unstable_request(query.node, _exact_by(how.describe, query))
    if unstable and not plain.waits:
        plain = plain._replace(waits=_OF_UNSTABLE.format(unstable))
    if how.once:
        return plain
    if found.kind == "merge":
        plain = plain._replace(stages=_of_merge(text, found))
        edits = guard_merge(text, found) if how.rules else []
        on = tree.read(f"SELECT ({found.where.of(text)})") if how.rules and found.where is not None else None
        if on is not None and found.where is not None and has_call(condition := on.node["select_list"][0]):
            printed = tree.expression_text(filter_condition(condition, how.cost, []))
            edits += [(found.where.start, found.where.end, printed)] if printed is not None else []
        return plain._replace(query=calls.replace(text, edits), changed=bool(edits))
    plain = plain._replace(stages=_with_all(stages(query.node), text))
    if not how.rules or found.where is None:
        return plain
    ruled = query.copy()
    apply_rules(ruled, how.cost)
    before_after = [(found.where, query.node["where_clause"], ruled.node["where_clause"])]
    if found.values:
        before_after += zip(found.values, query.node["select_list"], ruled.node["select_list"], strict=True)
    edits = []
    for part, before, after in before_after:
        if not tree.same(before, after):
            printed = tree.expression_text(after)
            if printed is None:
                return plain
            edits.append((part.start, part.end, printed))
    return plain._replace(query=calls.replace(text, edits), changed=bool(edits))


def as_query(text: str, found: Parts) -> Query | None:
    """What an UPDATE, DELETE or MERGE evaluates, as a query; None where it cannot be read as one."""
    assert found.target is not None
    if found.kind == "merge":
        values = ", ".join(merged_values(text, found)) or "1"
        tables = "\nFULL JOIN ".join(span.of(text) for span in (found.target, found.source) if span is not None)
        on = "" if found.where is None else found.where.of(text)
        return tree.read(f"SELECT {values}\nFROM {tables}\nON ({on})")
    values = ", ".join(f"({value.of(text)})" for value in found.values) or "1"
    tables = "\n, ".join(span.of(text) for span in (found.target, found.source) if span is not None)
    where = "" if found.where is None else f"\nWHERE ({found.where.of(text)})"
    return tree.read(f"SELECT {values}\nFROM {tables}{where}")


def _of_merge(text: str, found: Parts) -> Stages:
    """The stages of a MERGE: its source, what it is joined on, then WHEN by WHEN."""
    assert found.source is not None and found.where is not None
    in_order: list[Stages] = []
    source = tree.read(f"FROM {found.source.of(text)}")
    in_order.append(stages(source.node) if source is not None else [_numbers(found.source.of(text))])
    for span in [found.where, *(part for when in found.whens for part in (when.condition, *when.values) if part)]:
        one = tree.read(f"SELECT ({span.of(text)})")
        in_order.append(stages(one.node) if one is not None else [_numbers(span.of(text))])
    return _with_all([stage for stage in one_after_the_other(*in_order) if stage], text)


def _with_all(found: Stages, text: str) -> Stages:
    """Stages with one more for the calls of a statement that are in none of them: those of its RETURNING."""
    rest = _numbers(text).difference(*found)
    return [*found, rest] if rest else found


def _asks_with_the_time(text: str, found: Parts) -> bool:
    """Whether the requests of a statement that changes rows may hold the time of day, or whatever makes them does."""
    for call in calls.find_calls(text, calls.tokenize(text), lambda name: name.lower().startswith(PREFIX)):
        if tells_the_time(call.text):
            return True
    if found.source is not None and tells_the_time(found.source.of(text)):
        return True
    return tells_the_time(text) and _SUBQUERY.search(text) is not None


def _waves(select: Node) -> tuple[int | None, int]:
    """How many rows a LIMIT needs of those that pass a WHERE with calls, and the stages of that WHERE.

    None where it does not need just any rows.
    """
    none = None, 0
    limit = modifier(select, "LIMIT") if select["type"] == "SELECT_NODE" else None
    if limit is None or len(select["modifiers"]) > 1 or limit["limit_type"] != "ROW_COUNT":
        return none
    rows, skipped = integer_of(limit["limit"]), integer_of(limit["offset"])
    if rows is None or (limit["offset"] is not None and skipped is None):
        return none
    others = [select[name] for name in ("group_expressions", "having", "qualify", "group_sets")]
    if any(others) or select["cte_map"]["map"] or select["aggregate_handling"] != "STANDARD_HANDLING":
        return none
    where = select["where_clause"]
    if where is None or not has_call(where) or any(map(may_aggregate, select["select_list"])):
        return none
    return none if has_call(select["from_table"]) else (rows + (skipped or 0), len(of_clause(select, "where_clause")))
