"""`aiq metrics`: what is in the tables as Prometheus reads it, for batches, which have no port to be asked at.

Names and labels are those of `/metrics` of a server (`aiq/serve/metrics.py`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aiq.cli.options import Conf, Home
from aiq.cli.report import opened
from aiq.metric_names import SECONDS, TOKENS

if TYPE_CHECKING:
    from aiq.engines.duckdb.session import DuckDBSession

_ENDPOINT = {"endpoint": "endpoint_name"}
_ENTITY = _ENDPOINT | {"entity": "served_entity_name"}
_ASKED = _ENTITY | {"provider": "COALESCE(provider, '')"}
_SENT = "served_entity_name IS NOT NULL"
_BILLED = "gen_ai_client_inference_usage_{}_total"
_COUNTERS = (
    ("aiq_requests_total", "Requests that have ended.", "COUNT(*)", "final",
     _ENDPOINT | {"status": "status", "error_type": "COALESCE(error_class, '')"}),
    ("aiq_retries_total", "Attempts that were not the last of their request.", "COUNT(*)", "NOT final", _ENDPOINT),
    ("aiq_fallbacks_total", "Attempts at another served entity.", "COUNT(*)",
     f"{_SENT} AND fallback_from <> ''", _ENTITY),
    ("aiq_limit_refused_total", "Requests that a rate limit refused.", "COUNT(*)",
     "final AND status = 'refused' AND limited_by <> ''", _ENDPOINT),
    ("aiq_guardrail_actions_total", "Requests on which guardrails acted.", "COUNT(*)",
     "final AND guards <> ''", _ENDPOINT),
    ("aiq_cost_usd_total", "US dollars, of calls with a known price.", "SUM(cost_usd)",
     f"{_SENT} AND cost_usd <> 0", _ASKED),
    *(
        (_BILLED.format(name), "Tokens as billed.", f"SUM({column})", f"{_SENT} AND {column} <> 0", _ASKED)
        for column, name in TOKENS.items()
    ),
)  # fmt: skip
"""Name, help, value, which rows of system.aiq.calls, and the columns of the labels."""
_HISTOGRAMS = (
    ("gen_ai_client_inference_duration_seconds", "One call of a provider.", "latency_ms", _SENT, _ASKED),
    ("gen_ai_client_inference_time_to_first_chunk_seconds", "Until the first token of a stream.",
     "time_to_first_token_ms", _SENT, _ASKED),
    ("aiq_limit_wait_seconds", "Waited for rate limits.", "limit_wait_ms", "final AND limit_wait_ms <> 0", _ENDPOINT),
)  # fmt: skip


def metrics(
    out: Annotated[Path | None, typer.Option(help="Write it to a file, whole or not at all.", metavar="FILE")] = None,
    conf: Conf = None,
    home: Home = None,
) -> None:
    """Show the totals of the tables as Prometheus reads them, for the textfile collector of its node exporter."""
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise typer.BadParameter(f"{out} cannot be written: no such folder, or a folder itself", param_hint="--out")
    with opened(conf, home) as session:
        text = "".join(f"{line}\n" for line in exposition(session))
    if out is None:
        print(text, end="")
        return
    descriptor, path = tempfile.mkstemp(prefix=".aiq-", dir=out.absolute().parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(path, 0o644)  # the collector is another user
        os.replace(path, out)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)


def exposition(session: DuckDBSession) -> Iterator[str]:
    """The lines of Prometheus' text format, version 0.0.4."""
    for name, words, value, where, labels in _COUNTERS:
        yield from _head(name, words, "counter")
        for row in _grouped(session, labels, value, where):
            yield f"{name}{_labels(labels, row[:-1])} {float(row[-1])}"
    for name, words, column, where, labels in _HISTOGRAMS:
        yield from _head(name, words, "histogram")
        within = ", ".join(f"COUNT(*) FILTER ({column} / 1000 <= {bound})" for bound in SECONDS)
        values = f"{within}, COUNT(*), SUM({column}) / 1000"
        for row in _grouped(session, labels, values, f"{where} AND {column} IS NOT NULL"):
            texts, counts, total = list(row[: len(labels)]), row[len(labels) : -1], row[-1]
            for bound, count in zip([*map(str, SECONDS), "+Inf"], counts, strict=True):
                yield f"{name}_bucket{_labels([*labels, 'le'], [*texts, bound])} {float(count)}"
            yield f"{name}_count{_labels(labels, texts)} {float(counts[-1])}"
            yield f"{name}_sum{_labels(labels, texts)} {float(total)}"


def _head(name: str, words: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} {kind}"


def _grouped(session: DuckDBSession, labels: dict[str, str], values: str, where: str) -> list[tuple[Any, ...]]:
    columns = ", ".join(labels.values())
    query = f"SELECT {columns}, {values} FROM system.aiq.calls WHERE {where} GROUP BY {columns} ORDER BY {columns}"
    found = session.sql(query)
    assert found is not None
    return found.fetchall()


def _labels(names: Iterable[str], values: Iterable[Any]) -> str:
    escaped = [str(v).replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"") for v in values]
    return "{" + ",".join(f'{name}="{value}"' for name, value in zip(names, escaped, strict=True)) + "}"
