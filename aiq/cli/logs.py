"""`aiq logs` and `aiq usage`: the latest requests, and a month by endpoint, user and tags."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aiq.amounts import dollars
from aiq.cli.options import Conf, Home, How, Out
from aiq.cli.printable import printable
from aiq.cli.report import Endpoint, User, opened, print_rows

if TYPE_CHECKING:
    from aiq.engines.duckdb.session import DuckDBSession

_POLL_S = 2.0
_LATE = timedelta(hours=1)
"""A request that is followed may have begun so long before its row is committed."""
_REQUESTS = """
SELECT start_time, CASE WHEN cache_hit THEN 'reused' ELSE status END AS status, endpoint_name, requester, model,
  ROUND(latency_ms, 1) AS latency_ms, input_tokens, output_tokens, cost_usd, error_message, request_id
FROM system.aiq.calls WHERE final"""
_MONTH = """
SELECT endpoint_name, requester, {tag} AS tags, COUNT(DISTINCT request_id) AS requests,
  COUNT(*) FILTER (final AND status <> 'ok') AS failed, COUNT(*) FILTER (cache_hit) AS reused,
  SUM(COALESCE(input_tokens, 0)) AS input_tokens, SUM(COALESCE(output_tokens, 0)) AS output_tokens,
  CAST(SUM(cost_usd) AS DECIMAL(18, 6)) AS cost_usd,
  COUNT(*) FILTER (status = 'ok' AND NOT cache_hit AND cost_usd IS NULL) AS unpriced
FROM system.aiq.calls
GROUP BY ALL ORDER BY cost_usd DESC NULLS LAST, requests DESC, endpoint_name, requester, tags"""
_ALL_TAGS = (
    "NULLIF(list_sort(list_transform(map_entries(usage_context), lambda pair: concat(pair.key, '=', pair.value))), [])"
)
_MONTH_NAME = re.compile(r"\d{4}-\d{2}")


def logs(
    count: Annotated[int, typer.Option("-n", help="How many.", min=1, max=1_000_000)] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C.")] = False,
    endpoint: Endpoint = None,
    user: User = None,
    format: How = None,
    out: Out = None,
    conf: Conf = None,
    home: Home = None,
) -> None:
    """Show the latest requests, the newest last. Times are in UTC.

    With --follow each is a line, as soon as it is in the tables: a long statement commits while it runs.
    """
    if follow and (out or format):
        raise typer.BadParameter("prints lines as they come; leave out --format and --out", param_hint="--follow")
    from aiq.cli.narrow import Narrowing, narrowed

    text, values = narrowed(_REQUESTS, Narrowing(endpoint=endpoint, user=user), {})
    latest = f"SELECT * FROM ({text} ORDER BY start_time DESC, request_id DESC LIMIT {count})"
    with opened(conf, home) as session:
        if not follow:
            print_rows(session, f"{latest} ORDER BY start_time, request_id", values, format, out)
            return
        try:
            for line in following(session, text, latest, values):
                print(line, flush=True)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def following(
    session: DuckDBSession,
    text: str,
    latest: str,
    values: dict[str, Any],
    sleep: Callable[[float], object] = time.sleep,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[str]:
    """The requests that `latest` finds, then those that come into the table, each once; without end."""
    fresh = f"SELECT * FROM ({text} AND start_time >= $fresh)"
    order = " ORDER BY start_time, request_id"
    floor = now() - _LATE
    seen = {row[-1]: row[0] for row in _rows(session, fresh + order, values | {"fresh": floor})}
    for row in _rows(session, latest + order, values):
        yield _line(row)
        seen.setdefault(row[-1], row[0])
    while True:
        sleep(_POLL_S)
        floor = max(floor, now() - _LATE)
        seen = {request: start for request, start in seen.items() if start >= floor}
        for row in _rows(session, fresh + order, values | {"fresh": floor}):
            if row[-1] not in seen:
                seen[row[-1]] = row[0]
                yield _line(row)


def usage(
    month: Annotated[str | None, typer.Option(help="The month. [default: this one]", metavar="YYYY-MM")] = None,
    tag: Annotated[str | None, typer.Option(help="By the values of this tag alone.", metavar="NAME")] = None,
    endpoint: Endpoint = None,
    user: User = None,
    format: How = None,
    out: Out = None,
    conf: Conf = None,
    home: Home = None,
) -> None:
    """Show a month (UTC) by endpoint, user and tags: requests, tokens, dollars. The rows add up to the bill."""
    from aiq.cli.narrow import Narrowing, narrowed

    text, values = narrowed(
        _MONTH.format(tag=_ALL_TAGS if tag is None else "usage_context[$tag]"),
        Narrowing(*month_of(month), endpoint, user),
        {},
    )
    with opened(conf, home) as session:
        print_rows(session, text, values if tag is None else values | {"tag": tag}, format, out)


def month_of(month: str | None, now: datetime | None = None) -> tuple[datetime, datetime]:
    """The first moment of a month and of the next one, in UTC."""
    wanted = f"{now or datetime.now(UTC):%Y-%m}" if month is None else month
    try:
        if not _MONTH_NAME.fullmatch(wanted):
            raise ValueError
        since = datetime(int(wanted[:4]), int(wanted[5:]), 1, tzinfo=UTC)
        return since, (since + timedelta(days=32)).replace(day=1)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{month!r} is no month; give one such as 2026-11", param_hint="--month") from None


def _rows(session: DuckDBSession, text: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    found = session.sql(text, values or None)
    assert found is not None
    return found.fetchall()


def _line(row: tuple[Any, ...]) -> str:
    start, status, endpoint, requester, model, latency, tokens_in, tokens_out, cost, error, request = row
    parts = [
        f"{start.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        f"{status:<9}",
        "-" if latency is None else f"{latency:,.0f} ms",
        f"{tokens_in or 0:,} + {tokens_out or 0:,} tokens",
        dollars(cost) if cost is not None else "no price" if status == "ok" else "-",
        endpoint,
        model or "-",
        requester,
        request,
        *([] if error is None else [" ".join(error.split())[:200]]),
    ]
    return printable("  ".join(parts))
