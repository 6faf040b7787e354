"""How records travel through the spool: groups of rows, encoded column by column. Knows no file and no table.

Column by column because that is cheaper both ways: no object per row on the event loop, and Arrow wants columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from aiq.ledger.records import MAX_PAYLOAD_BYTES, Intent, Outcome, StatementRow

_REQUEST = Outcome._fields.index("request")
_RESPONSE = Outcome._fields.index("response")
_FIELDS = [Intent._fields, Outcome._fields]
_SAME = "same"
"""Member of a column that is one value for all rows."""

OpenIntents = dict[tuple[str, int], Intent]
"""Attempts whose outcome has not been read yet, by request id and attempt."""


OpenStatements = dict[str, StatementRow]
"""Statements whose end has not been read yet, by their id."""


class Outcomes(NamedTuple):
    """Outcomes of several groups. `columns` by field of Outcome; `seq` the group of each row.

    A request or response that was too long for the payload table is its length in bytes instead of a text.
    `statements` are those that ended, each with its group.
    """

    seq: list[int]
    columns: dict[str, list[Any]]
    statements: list[tuple[int, StatementRow]]


def encode(intents: Sequence[Intent], outcomes: Sequence[Outcome], statements: Sequence[StatementRow] = ()) -> bytes:
    """One group as bytes. Never fails on a value: what JSON cannot carry is replaced (`?`) or left out (null)."""
    columns: list[Any] = list(zip(*outcomes, strict=True))
    if columns:
        columns[_REQUEST] = [_within_limit(text) for text in columns[_REQUEST]]
        columns[_RESPONSE] = [_within_limit(text) for text in columns[_RESPONSE]]
    group = [None, _compact(list(zip(*intents, strict=True))), _compact(columns)]
    if statements:
        group.append([row._asdict() for row in statements])
    try:
        return orjson.dumps(group)
    except TypeError:  # a lone surrogate, an integer past 64 bits, a key that is no string
        return orjson.dumps(_clean(group))


def encode_alike(outcome: Outcome, request_ids: Sequence[str]) -> bytes:
    """A group of outcomes without texts that differ in their request id alone. Raises TypeError for what is no JSON."""
    return orjson.dumps([None, [], [list(request_ids), *({_SAME: value} for value in outcome[1:])]])


def field_names() -> bytes:
    """The meaning of the columns: written ahead of the first group, so that another version can read them."""
    return orjson.dumps([_FIELDS, [], []])


def decode(
    groups: Iterable[tuple[int, bytes]],
    fields: list[Sequence[str]],
    open_intents: OpenIntents,
    open_statements: OpenStatements | None = None,
) -> Outcomes:
    """The outcomes of spooled groups.

    Updates `open_intents` and `open_statements` by what starts and ends on the way, and `fields`, the columns' names,
    where a group of names does.
    """
    running = {} if open_statements is None else open_statements
    intents: dict[str, list[Any]] = {name: [] for name in Intent._fields}
    outcomes = Outcomes([], {name: [] for name in Outcome._fields}, [])
    for seq, payload in groups:
        names, intent_columns, outcome_columns, *statements = orjson.loads(payload)
        for statement in map(_statement, statements[0] if statements else ()):
            running.pop(statement.statement_id, None)
            if statement.status is None:
                running[statement.statement_id] = statement
            else:
                outcomes.statements.append((seq, statement))
        if names is not None:
            fields[:] = names
        if intent_columns:
            _extend(intents, Intent._field_defaults, fields[0], _expand(intent_columns))
        if outcome_columns:
            _extend(outcomes.columns, Outcome._field_defaults, fields[1], _expand(outcome_columns))
            outcomes.seq.extend([seq] * len(outcome_columns[0]))
    closed = set(zip(outcomes.columns["request_id"], outcomes.columns["attempt"], strict=True))
    for key in closed & open_intents.keys():
        del open_intents[key]
    for row, key in enumerate(zip(intents["request_id"], intents["attempt"], strict=True)):
        if key not in closed:
            open_intents[key] = Intent._make(values[row] for values in intents.values())
    return outcomes


def readable(payload: bytes, fields: list[Sequence[str]]) -> bool:
    """Whether a group can be decoded; a group of names updates `fields`."""
    try:
        decode([(0, payload)], fields, {})
    except ValueError:
        return False
    return True


def default_fields() -> list[Sequence[str]]:
    """The columns' names of this version."""
    return list(_FIELDS)


def encode_kept(fields: list[Sequence[str]], intents: OpenIntents, statements: OpenStatements | None = None) -> bytes:
    """What stays in the spool of forgotten groups: the columns' names, the open intents and the running statements."""
    by_name = dict(zip(Intent._fields, zip(*intents.values(), strict=True), strict=True)) if intents else {}
    kept: list[Any] = [fields, [by_name.get(name) for name in fields[0]] if by_name else [], []]
    if statements:
        kept.append([row._asdict() for row in statements.values()])
    return orjson.dumps(kept)


def orphan(intent: Intent) -> Outcome:
    """The outcome of an attempt whose process died: what was known before, and not what the provider did or billed."""
    return Outcome(
        request_id=intent.request_id,
        attempt=intent.attempt,
        statement_id=intent.statement_id,
        endpoint=intent.endpoint,
        served_entity_id=intent.served_entity_id,
        served_entity_name=intent.served_entity_name,
        provider=intent.provider,
        model=intent.model,
        task=intent.task,
        requester=intent.requester,
        start_us=intent.start_us,
        status="orphaned",
        status_code=None,
        error_class=None,
        error_message="the process ended before the answer was recorded",
        latency_ms=None,
        queue_ms=0.0,
        limit_wait_ms=0.0,
        input_tokens=None,
        output_tokens=None,
        cached_tokens=None,
        reasoning_tokens=None,
        tokens_estimated=False,
        cost_usd=None,
        price_version=None,
        rows=0,
        finish_reason=None,
        cache_hit=False,
        fallback_from=None,
        final=True,
        track_usage=intent.track_usage,
        client_request_id=intent.client_request_id,
        usage_context=intent.usage_context,
        unpriced="the process ended before the answer was recorded; it may have been billed",
        function=intent.function,
    )


def orphaned(statement: StatementRow) -> StatementRow:
    """The row of a statement whose process died. What it asked and cost is in the rows of its calls."""
    return statement._replace(
        status="orphaned", error_message="the process ended before the statement did; system.aiq.calls has its calls"
    )


def _statement(members: dict[str, Any]) -> StatementRow:
    """A statement as this version knows it: another one may have written more or less of it."""
    known = StatementRow(members["statement_id"], None, members["requester"], members["engine"], members["start_us"])
    return known._replace(**{name: value for name, value in members.items() if name in StatementRow._fields})


def _compact(columns: list[Any]) -> list[Any]:
    """Columns of one value for all rows, which most are, as an object that holds it once. Ids are never such."""
    if not columns or len(columns[0]) == 1:
        return columns
    size = len(columns[0])
    return [columns[0], *({_SAME: c[0]} if c.count(c[0]) == size else c for c in columns[1:])]


def _expand(columns: list[Any]) -> list[list[Any]]:
    size = len(columns[0])
    return [[column[_SAME]] * size if type(column) is dict else column for column in columns]


def _extend(
    columns: dict[str, list[Any]], defaults: dict[str, Any], names: Sequence[str], values: list[list[Any]]
) -> None:
    """Appends a group's columns to `columns`. One that the group does not have gets its default, or None."""
    if list(columns) == list(names):
        for column, group in zip(columns.values(), values, strict=True):
            column.extend(group)
        return
    by_name = dict(zip(names, values, strict=True))
    for name, column in columns.items():
        column.extend(by_name.get(name) or [defaults.get(name)] * len(values[0]))


def _within_limit(text: str | None) -> str | int | None:
    if text is None or len(text) * 4 <= MAX_PAYLOAD_BYTES:
        return text
    size = len(text.encode("utf-8", "replace"))
    return text if size <= MAX_PAYLOAD_BYTES else size


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_clean(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return None
    return value if value is None or isinstance(value, int | float) else str(value)
