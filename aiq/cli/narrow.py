"""Narrows an analysis of sql/ to a time, an endpoint and a requester, by values that are bound and never pasted.

`FROM system.aiq.calls` becomes `FROM (SELECT * FROM system.aiq.calls WHERE start_time >= $since)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from aiq.errors import StatementError
from aiq.ledger.records import CALLS_TABLE, SERVED_ENTITIES_TABLE, STATEMENTS_TABLE, USAGE_TABLE
from aiq.sql import calls


class Narrowing(NamedTuple):
    """What an analysis is to look at; None does not narrow. `since` is in it and `until` is not, both with a zone."""

    since: datetime | None = None
    until: datetime | None = None
    endpoint: str | None = None
    user: str | None = None

    def given(self) -> dict[str, datetime | str]:
        """The values by their parameters' names."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class _Columns(NamedTuple):
    """How one table is narrowed. `endpoint` is a condition on the parameter $endpoint."""

    time: str
    endpoint: str
    user: str | None = "requester"


_BY_TABLE = {
    CALLS_TABLE: _Columns("start_time", "endpoint_name = $endpoint"),
    STATEMENTS_TABLE: _Columns(
        "start_time", f"statement_id IN (SELECT statement_id FROM {CALLS_TABLE} WHERE endpoint_name = $endpoint)"
    ),
    USAGE_TABLE: _Columns(
        "request_time",
        f"databricks_request_id IN (SELECT request_id FROM {CALLS_TABLE} WHERE endpoint_name = $endpoint)",
    ),
    SERVED_ENTITIES_TABLE: _Columns("change_time", "endpoint_name = $endpoint", None),
}
_PAYLOAD = _Columns("request_time", _BY_TABLE[USAGE_TABLE].endpoint)
SAMPLE_PAYLOADS = "main.aiq.chat_payload"
"""The inference table that the analyses name, of the sample endpoint."""
_WORDS = {"since": "--since", "until": "--until", "endpoint": "--endpoint", "user": "--user"}


def narrowed(text: str, scope: Narrowing, payloads: Mapping[str, str]) -> tuple[str, dict[str, datetime | str]]:
    """The statement with the table that it names first narrowed, and the parameters that it has then.

    The other tables only add to the rows of the first: a statement that began before `since` has ended all the same.
    `payloads` has the inference table of each endpoint that has one. The analyses name that of a sample; here it is
    that of the endpoint which is asked for. Raises StatementError where there is nothing to narrow by, or no such
    inference table.
    """
    given = scope.given()
    found = calls.find_tables(calls.tokenize(text), [*_BY_TABLE, SAMPLE_PAYLOADS])
    first = found[0][2] if found else None
    used: set[str] = set()
    replacements = []
    for start, end, name in found:
        source = _payload_of(scope, payloads) if name == SAMPLE_PAYLOADS else name
        conditions = _conditions(_BY_TABLE.get(name, _PAYLOAD), given) if name == first else {}
        used |= conditions.keys()
        if conditions:
            source = f"(SELECT * FROM {source} WHERE {' AND '.join(conditions.values())})"
        replacements.append((start, end, source))
    if ignored := given.keys() - used:
        words = " and ".join(sorted(_WORDS[name] for name in ignored))
        raise StatementError(f"the tables of this report cannot be narrowed by {words}; leave it out")
    return calls.replace(text, replacements), given


def _conditions(columns: _Columns, given: Mapping[str, datetime | str]) -> dict[str, str]:
    all_of_them = {
        "since": f"{columns.time} >= $since",
        "until": f"{columns.time} < $until",
        "endpoint": columns.endpoint,
        "user": columns.user and f"{columns.user} = $user",
    }
    return {name: words for name, words in all_of_them.items() if name in given and words}


def _payload_of(scope: Narrowing, payloads: Mapping[str, str]) -> str:
    """The inference table to read, quoted."""
    if scope.endpoint is not None:
        found = payloads.get(scope.endpoint)
        if found is None:
            raise StatementError(
                f"endpoint {scope.endpoint} has no inference table; set ai_gateway.inference_table_config in its "
                f"file, or choose one that has: {', '.join(sorted(payloads)) or 'none has'}"
            )
    elif SAMPLE_PAYLOADS in payloads.values():
        return SAMPLE_PAYLOADS
    elif len(set(payloads.values())) == 1:
        found = next(iter(payloads.values()))
    else:
        if not payloads:
            raise StatementError(
                "this report reads the texts of requests, and no endpoint keeps them; set "
                "ai_gateway.inference_table_config in the file of one"
            )
        raise StatementError(
            f"this report reads the texts of one endpoint; say which with --endpoint: {', '.join(sorted(payloads))}"
        )
    return ".".join('"' + part.replace('"', '""') + '"' for part in found.split("."))
