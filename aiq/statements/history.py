"""What the ledger shows of an endpoint's last calls. Reads the Delta tables through a DuckDB of its own."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import duckdb

from aiq.config.endpoint import Endpoint
from aiq.gateway.statements import Totals
from aiq.ledger.records import CALLS_TABLE, USAGE_TABLE
from aiq.ledger.tables import Tables
from aiq.statements.estimate import History

LAST_CALLS = 10_000


def history_of(tables: Tables, endpoint: Endpoint) -> History:
    """The last 10,000 calls of an endpoint that were answered. Raises LedgerError for a damaged table."""
    names = tables.names()
    if CALLS_TABLE not in names:
        return History()
    with duckdb.connect() as con:
        _read(con, tables, CALLS_TABLE, "calls")
        calls, low, mean, high, latency_ms = con.execute(
            "SELECT count(*), min(tokens), avg(tokens), quantile_cont(tokens, 0.99), avg(latency_ms) "
            "FROM (SELECT output_tokens / rows AS tokens, latency_ms FROM calls WHERE endpoint_name = ? "
            f"AND status = 'ok' AND NOT cache_hit AND rows > 0 ORDER BY start_time DESC LIMIT {LAST_CALLS})",
            [endpoint.name],
        ).fetchall()[0]
        if not calls:
            return History()
        per_token = None
        if USAGE_TABLE in names:
            _read(con, tables, USAGE_TABLE, "usage")
            entities: list[Any] = [entity.id for entity in endpoint.entities]
            per_token = con.execute(
                "SELECT sum(input_character_count) / nullif(sum(input_token_count), 0) FROM (SELECT * FROM usage "
                "WHERE list_contains(?, served_entity_id) AND status_code = 200 AND input_token_count > 0 "
                f"AND input_character_count > 0 ORDER BY request_time DESC LIMIT {LAST_CALLS})",
                [entities],
            ).fetchall()[0][0]
        return History(calls, low or 0.0, mean or 0.0, high or 0.0, (latency_ms or 0.0) / 1000, per_token)


class Taken(NamedTuple):
    """What calls took. `actual_requests` are distinct, `actual_reused` those of them that were answered already.

    `actual_seconds` are from the first call's start to the last one's end.
    """

    actual_rows: int | None = None
    actual_requests: int | None = None
    actual_reused: int | None = None
    actual_calls: int | None = None
    actual_input_tokens: int | None = None
    actual_output_tokens: int | None = None
    actual_cost_usd: float | None = None
    actual_seconds: float | None = None


_TOTALS = (
    "coalesce(sum(rows) FILTER (WHERE final), 0)::BIGINT, "
    "coalesce(sum(rows) FILTER (WHERE cache_hit), 0)::BIGINT, "
    "coalesce(sum(rows) FILTER (WHERE final AND status IN ('error', 'refused')), 0)::BIGINT, "
    "coalesce(sum(input_tokens + coalesce(output_tokens, 0)), 0)::BIGINT, "
    "CASE WHEN count(*) FILTER (WHERE cost_usd IS NULL AND input_tokens IS NOT NULL) = 0 "
    "THEN coalesce(sum(cost_usd), 0) END"
)
NOTHING = Taken(0, 0, 0, 0, 0, 0, 0.0, 0.0)


def usage_of(tables: Tables, statement_id: str) -> dict[str | None, Taken]:
    """What the calls of a committed statement took, by endpoint, and under None all of them together.

    Every attempt is a call here. The ledger does not know `actual_rows`.
    """
    if CALLS_TABLE not in tables.names():
        return {}
    with duckdb.connect() as con:
        _read(con, tables, CALLS_TABLE, "calls")
        found = con.execute(
            "SELECT endpoint_name, coalesce(sum(rows) FILTER (WHERE final), 0)::BIGINT, "
            "count(*) FILTER (WHERE cache_hit), count(*) FILTER (WHERE NOT cache_hit), "
            "coalesce(sum(input_tokens), 0)::BIGINT, coalesce(sum(output_tokens), 0)::BIGINT, "
            "CASE WHEN count(*) FILTER (WHERE cost_usd IS NULL AND input_tokens IS NOT NULL) = 0 "
            "THEN coalesce(sum(cost_usd), 0) END, "
            "coalesce(max(epoch(start_time) + coalesce(latency_ms, 0) / 1000) FILTER (WHERE NOT cache_hit) "
            "- min(epoch(start_time)) FILTER (WHERE NOT cache_hit), 0) "
            "FROM calls WHERE statement_id = ? AND status <> 'refused' "
            "GROUP BY GROUPING SETS ((endpoint_name), ())",
            [statement_id],
        ).fetchall()
        return {name: Taken(None, *values) for name, *values in found}


def totals_of(tables: Tables, statement_id: str, since: datetime) -> Totals:
    """What the committed calls of a statement took that started at `since`. Raises LedgerError."""
    if CALLS_TABLE not in tables.names():
        return Totals(0, 0, 0, 0, 0.0)
    with duckdb.connect() as con:
        _read(con, tables, CALLS_TABLE, "calls")
        found = con.execute(
            f"SELECT {_TOTALS} FROM calls WHERE statement_id = ? AND start_time >= ?", [statement_id, since]
        ).fetchall()
        return Totals(*found[0])


def totals_of_ids(tables: Tables, statement_ids: list[str]) -> dict[str, Totals]:
    """What the committed calls of some statements took, by id. Raises LedgerError."""
    if CALLS_TABLE not in tables.names():
        return {}
    with duckdb.connect() as con:
        _read(con, tables, CALLS_TABLE, "calls")
        query = f"SELECT statement_id, {_TOTALS} FROM calls WHERE list_contains(?, statement_id) GROUP BY statement_id"
        return {found: Totals(*values) for found, *values in con.execute(query, [statement_ids]).fetchall()}


def _read(con: duckdb.DuckDBPyConnection, tables: Tables, table: str, view: str) -> None:
    files = tables.parquet_files(table)
    if files:
        con.read_parquet(files, union_by_name=True).create_view(view)
    else:
        con.register(view, tables.to_arrow(table))
