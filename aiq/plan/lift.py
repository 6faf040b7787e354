"""What makes a statement ready to run in passes: its rewritten text, the query that its calls depend on, their stages.

Works on text with numbered calls (`__aiq_<type>(<number>, request)`); knows neither engine nor provider.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from aiq.plan.numbered import has_call, is_call, may_aggregate
from aiq.plan.rules import apply_rules
from aiq.plan.stages import Stages, stages

if TYPE_CHECKING:
    from sqlglot import exp

_NAME = re.compile(r"(\w+)\s*\(")
_CLOCKS = {"now", "transaction_timestamp", "get_current_timestamp", "get_current_time", "txid_current"}
_CLOCK = re.compile(
    rf"\b(({'|'.join(sorted(_CLOCKS))})\s*\(|(current_time|current_timestamp|localtime|localtimestamp)\b)",
    re.IGNORECASE,
)
_SAMPLING = re.compile(r"\b(using\s+sample|tablesample)\b", re.IGNORECASE)


class Lifted(NamedTuple):
    """A statement that can run in passes.

    `text` is the whole statement, `query` the SELECT in it that is evaluated until nothing is unknown (the same text
    where the statement is a SELECT). `writes` is true where evaluating `query` changes rows, so that what a pass did
    has to be rolled back. `limit` is set where any `limit` rows that pass an AI filter will do; the first `filters`
    stages are that filter's. `changed` says whether rules rewrote the text; `unchanged` is the query before they did.
    `into` is what stands before the query of a CREATE TABLE ... AS: followed by another query, it makes the same table.
    `made` is that table's name, with the names before it; None where it replaces what is there. `tree` is `unchanged`
    as a syntax tree, None where it is only known as text.
    """

    text: str
    query: str
    stages: Stages
    limit: int | None = None
    filters: int = 0
    changed: bool = False
    writes: bool = False
    unchanged: str = ""
    into: str | None = None
    made: tuple[str, ...] | None = None
    tree: exp.Query | None = None


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


def lift(text: str, cost: Callable[[int], float], *, rules: bool = True, by_source: bool = True) -> Lifted | NotLifted:
    """The plan of a statement with numbered calls. `cost` compares call sites by what one request costs.

    Without `rules` the text stays as it is; then more may be asked than the result needs. `by_source`: aiq/plan/rules.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(text, read="duckdb")
    except SqlglotError:
        return NotLifted("its SQL is not understood well enough to be evaluated in passes")
    if isinstance(tree, exp.Update | exp.Delete | exp.Merge):
        if _asks_with_the_time(tree):
            return NotLifted("its requests may hold the time, which is another after each rollback")
        tree, whole, changed = _ruled(tree, text, cost if rules else None, by_source)
        return Lifted(whole, whole, stages(tree), changed=changed, writes=True)
    source = source_of(tree)
    if source is None:
        return NotLifted(f"a {tree.key.upper()} is not evaluated in passes")
    if calls_outside(tree, source):
        return NotLifted(f"an AI call stands outside the query of the {tree.key.upper()}")
    original = source.copy()
    unchanged = text if source is tree else source.sql(dialect="duckdb")
    tree, whole, changed = _ruled(tree, text, cost if rules else None, by_source)
    source = source_of(tree)
    assert source is not None
    query = whole if source is tree else source.sql(dialect="duckdb")
    if isinstance(source, exp.Select) and source is tree and (limit := _waves(source)) is not None:
        filters = len(stages(source.args["where"]))
        return Lifted(whole, query, stages(source), limit, filters, changed, unchanged=unchanged, tree=original)
    return Lifted(
        whole,
        query,
        stages(source),
        changed=changed,
        unchanged=unchanged,
        into=opening_of(text, tree),
        made=made_by(tree),
        tree=original,
    )


def _ruled(
    tree: exp.Expr, text: str, cost: Callable[[int], float] | None, by_source: bool
) -> tuple[exp.Expr, str, bool]:
    """A statement after all rules, its text, and whether they changed it; `cost` None applies none."""
    if cost is None:
        return tree, text, False
    before = tree.sql(dialect="duckdb")
    tree = apply_rules(tree, cost, by_source=by_source)
    after = tree.sql(dialect="duckdb")
    return (tree, after, True) if after != before else (tree, text, False)


def calls_outside(tree: exp.Expr, source: exp.Query) -> bool:
    """Whether a call stands beside the query of a statement."""
    return any(has_call(part) for part in tree.args.values() if _is_other(tree, part, source))


def source_of(tree: exp.Expr) -> exp.Query | None:
    """The query that a statement evaluates, if evaluating it alone changes nothing."""
    from sqlglot import exp

    if isinstance(tree, exp.Query):
        return tree
    if isinstance(tree, exp.Create | exp.Insert) and isinstance(tree.expression, exp.Query):
        return tree.expression
    if isinstance(tree, exp.Copy) and isinstance(tree.this, exp.Query):
        return tree.this
    return None


def opening_of(text: str, tree: exp.Expr) -> str | None:
    """What stands before the query of a CREATE TABLE ... AS that fills its table; None for any other statement."""
    from sqlglot import TokenType, exp, tokenize

    if not isinstance(tree, exp.Create) or tree.kind != "TABLE" or tree.find(exp.WithDataProperty):
        return None
    tokens = tokenize(text, read="duckdb")
    return next((text[: token.end + 1] for token in tokens if token.token_type == TokenType.ALIAS), None)


def made_by(tree: exp.Expr) -> tuple[str, ...] | None:
    """The name of a table that a CREATE TABLE must not find there already."""
    from sqlglot import exp

    if not isinstance(tree, exp.Create) or tree.kind != "TABLE" or tree.args.get("replace"):
        return None
    table = tree.this.find(exp.Table)
    return tuple(part.name for part in table.parts) if table is not None else None


def _asks_with_the_time(tree: exp.Expr) -> bool:
    """Whether the time of day may be in a request: it stands in one, or is a column of a query that one may read."""
    from sqlglot import exp

    clocks = (exp.CurrentTimestamp, exp.CurrentTime, exp.Localtime, exp.Localtimestamp, exp.CurrentDatetime)
    for node in tree.walk():
        if isinstance(node, clocks) or (isinstance(node, exp.Anonymous) and node.name.lower() in _CLOCKS):
            around: exp.Expr | None = node
            while around is not None:
                if is_call(around) or (isinstance(around.parent, exp.Select) and around.arg_key == "expressions"):
                    return True
                around = around.parent
    return False


def _is_other(tree: exp.Expr, part: object, source: exp.Expr) -> TypeGuard[exp.Expr]:
    """Whether a part of a statement that writes lies beside its query."""
    from sqlglot import exp

    if tree is source or not isinstance(part, exp.Expr):
        return False
    return part is not source and source.find_ancestor(type(part)) is not part


def _waves(select: exp.Select) -> int | None:
    """The rows that `SELECT ... WHERE <AI predicate> LIMIT n` needs, where any n rows will do."""
    from sqlglot import exp

    args = select.args
    limit, offset = args.get("limit"), args.get("offset")
    if not isinstance(limit, exp.Limit) or not isinstance(limit.expression, exp.Literal) or not limit.expression.is_int:
        return None
    if limit.args.get("limit_options") is not None:  # LIMIT 10%: how many rows that is, only all of them tell
        return None
    if offset is not None and not (isinstance(offset.expression, exp.Literal) and offset.expression.is_int):
        return None
    if any(args.get(name) for name in ("order", "group", "having", "qualify", "distinct", "with", "with_")):
        return None
    where = args.get("where")
    if not has_call(where) or any(may_aggregate(item) for item in select.expressions):
        return None
    others = [args.get("from"), args.get("from_"), *(args.get("joins") or [])]
    if any(has_call(part) for part in others if part is not None):
        return None
    return int(limit.expression.name) + (int(offset.expression.name) if offset is not None else 0)
