"""`aiq ask`: one question to one endpoint, its answer as it comes."""

from __future__ import annotations

import queue
import sys
import uuid
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aiq.cli.options import Conf, Groups, Home, Requester, UsageContext, tags_of
from aiq.cli.printable import printable

if TYPE_CHECKING:
    from aiq.gateway import Gateway
    from aiq.ledger.records import Outcome
    from aiq.request import Request


def ask(
    endpoint: Annotated[str, typer.Argument(help="The endpoint, a chat or an agent.")],
    question: Annotated[
        str | None, typer.Argument(help="What is asked; what is piped in stands below it.", show_default=False)
    ] = None,
    system: Annotated[str | None, typer.Option(help="How the model is to answer.", metavar="TEXT")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Of the answer, at most.", min=1)] = None,
    conf: Conf = None,
    home: Home = None,
    user: Requester = None,
    group: Groups = None,
    usage_context: UsageContext = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not show what it took.")] = False,
) -> None:
    """Ask one question and print the answer while it comes: aiq ask chat "Summarise:" < letter.txt

    It passes the gateway like a row of SQL, and leaves its rows in the ledger.
    """
    from aiq.cli.stopping import stop_on_sigterm
    from aiq.engines.connect import caller_of
    from aiq.errors import StatementError
    from aiq.request import CHAT_TASKS, Request
    from aiq.runtime import open_gateway
    from aiq.telemetry.export import export

    text = "\n\n".join(part for part in (question, _piped()) if part)
    if not text:
        raise typer.BadParameter("give a question, or pipe a text in", param_hint="QUESTION")
    gateway = open_gateway(conf, home)
    export(gateway)
    task = gateway.open_endpoint(endpoint).task
    if task not in CHAT_TASKS:
        raise StatementError(f"'{endpoint}' has task {task}, which answers no question; ask it in SQL: aiq sql")
    caller = caller_of(gateway, user, group or None, tags_of(usage_context))
    gateway.ledger.sync_entities(gateway.config.endpoints.values(), caller.user)
    messages = [{"role": "user", "content": text}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    body: dict[str, Any] = {"messages": messages, **({} if max_tokens is None else {"max_tokens": max_tokens})}
    request = Request(endpoint, task, body, caller, str(uuid.uuid4()))
    outcomes: list[Outcome] = []
    gateway.observe(lambda outcome: outcomes.append(outcome) if outcome.statement_id == request.statement_id else None)
    stop_on_sigterm()
    try:
        _print_answer(gateway, request)
    finally:
        if outcomes and not quiet and gateway.config.settings.progress:
            print(_receipt(outcomes), file=sys.stderr)


def _piped() -> str:
    """What stands on standard input, where that is no terminal. Raises typer.BadParameter where it is no text."""
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig").strip("\n")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"standard input is not UTF-8 text (byte {error.start})") from None


def _print_answer(gateway: Gateway, request: Request) -> None:
    """The answer on standard output. Raises ProviderError and PolicyError."""
    from aiq.batch.loop import submit

    pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    async def run() -> None:
        try:
            if all(target.adapter.streams(request) for target in gateway.routes[request.endpoint].targets.values()):
                async for chunk in gateway.stream(request):
                    if chunk.text:
                        pieces.put(chunk.text)
            else:
                pieces.put(str((await gateway.answer(request)).value or ""))
        finally:
            pieces.put(None)

    running = submit(run())
    shown = printable if sys.stdout.isatty() else str
    last = "\n"
    try:
        while (piece := pieces.get()) is not None:
            sys.stdout.write(shown(piece))
            sys.stdout.flush()
            last = piece
        running.result()
    except BaseException:  # Ctrl-C
        running.cancel()
        while not running.done() and pieces.get() is not None:
            pass
        raise
    finally:
        if not last.endswith("\n"):
            sys.stdout.write("\n")


def _receipt(outcomes: list[Outcome]) -> str:
    from aiq.statements.receipt import Receipt

    last = outcomes[-1]
    costs = [outcome.cost_usd for outcome in outcomes if outcome.input_tokens is not None]
    tokens = sum((outcome.input_tokens or 0) + (outcome.output_tokens or 0) for outcome in outcomes)
    cost = None if None in costs else sum(cost for cost in costs if cost is not None)
    first_us = min(outcome.start_us for outcome in outcomes)
    seconds = (last.start_us - first_us) / 1e6 + (last.latency_ms or 0.0) / 1000
    failed = int(last.status in ("error", "refused"))
    status = {"ok": "ok", "cancelled": "cancelled"}.get(last.status, "error")
    return str(Receipt("", status, 1, 0, failed, tokens, cost, seconds, last.limit_wait_ms / 1000, last.limited_by))
