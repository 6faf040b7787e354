"""The guardrails of one endpoint: what must happen to a request before it is sent, and to an answer before it is seen.

Local filters (personal data, keywords) run first and cost microseconds; endpoints are asked only about what passed
them, with personal data masked already, all at once. What fails, blocks. Knows no wire format and no socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeVar

import orjson

from aiq.config.endpoint import Guardrails
from aiq.errors import GuardrailBlocked, ProviderError
from aiq.policy.guardrails.custom import Decision, custom_body, read_decision
from aiq.policy.guardrails.gates import count_digits
from aiq.policy.guardrails.keywords import Keywords
from aiq.policy.guardrails.masking import mask
from aiq.policy.guardrails.pii import Finding, PiiDetector
from aiq.policy.guardrails.places import Piece
from aiq.policy.guardrails.report import Findings
from aiq.policy.guardrails.safety import Verdict, read_verdict, safety_body
from aiq.policy.guardrails.texts import (
    Unreadable,
    answer_pieces,
    answer_text,
    choices_of,
    edit_answer,
    edit_request,
    messages_of,
    request_pieces,
    request_text,
)
from aiq.policy.guardrails.topics import is_off_topic, topics_body
from aiq.request import CHAT_TASKS, Answer, Request, Task, Usage

INLINE_CHARACTERS = 1000
INLINE_DIGITS = 100
"""Suspicious text with no more characters, and digits in them, is read on the event loop: a thread costs more."""
_READERS = 2
"""Threads: reading holds the interpreter, and more of them would only make the loop wait."""

GATED_CHARACTERS = 20_000
"""Text up to which the loop looks whether anything is suspicious, which takes a millisecond at the most."""

_SHARED = ("response_format", "tools")
"""Members that all rows of a statement have in common, as one object."""

_TOO_DEEP = "what is nested so deeply cannot be read"

Ask = Callable[[Request, str, Task, dict[str, Any]], Awaitable[Answer]]
"""Asks an endpoint in the name of the guarded request's caller: request, endpoint, its task, body."""
_T = TypeVar("_T")
_Found = dict[Piece, str]
"""Masked texts by piece; pieces without findings are left out."""
_SURE = 0.4
"""In ids and links, findings of a higher score count: phone numbers and bank accounts are any digits in a row."""


class RunOffLoop(Protocol):
    """Runs a function in a thread, as `asyncio.to_thread` does."""

    def __call__(self, function: Callable[[], _T], /) -> Awaitable[_T]: ...


class Checked(NamedTuple):
    """A request, or an answer to it, that may go on.

    `acted` is for the ledger (`pii:EMAIL_ADDRESS`, `safety:failed`). `report` is `input_guardrail` or
    `output_guardrail` of the REST body, None where nothing acted; the answer's `raw` carries its own already.
    """

    request: Request
    answer: Answer | None = None
    acted: tuple[str, ...] = ()
    report: list[dict[str, Any]] | None = None


@functools.lru_cache(maxsize=64)
def _detector(
    entities: tuple[str, ...], languages: tuple[str, ...], threshold: float, ner_model: str | None
) -> PiiDetector:
    """One for each configuration and process: loading takes seconds."""
    return PiiDetector(entities, languages, threshold, ner_model)


class Guards:
    """Guards one endpoint. Used on one event loop, but for `prepare`."""

    def __init__(
        self,
        guardrails: Guardrails,
        ask: Ask,
        tasks: Mapping[str, Task],
        run_off_loop: RunOffLoop | None = None,
    ) -> None:
        """`tasks` are those of the endpoints that guards ask, by name. `run_off_loop` None: threads of these guards."""
        self._guardrails, self._ask, self._tasks, self._run_off_loop = guardrails, ask, tasks, run_off_loop
        self._threads = ThreadPoolExecutor(_READERS, "aiq-guard")
        self._turn = asyncio.Semaphore(_READERS)
        self.input_active, self.output_active = guardrails.input.active, guardrails.output.active
        self._pii = _detector(
            guardrails.entities, guardrails.languages, guardrails.score_threshold, guardrails.ner_model
        )
        self._keywords = {
            "input": Keywords(guardrails.input.invalid_keywords),
            "output": Keywords(guardrails.output.invalid_keywords),
        }

        self._clean: dict[str, Any] = {}
        """Of _SHARED, the objects that were read last and hold nothing."""

    def prepare(self) -> None:
        """Loads what finds personal data, which takes seconds once in a process. Any thread but the event loop's."""
        if self._guardrails.input.pii != "NONE" or self._guardrails.output.pii != "NONE":
            self._pii.prepare()

    async def check_input(self, request: Request) -> Checked:
        """The request as it may be sent. Raises GuardrailBlocked. Holds for embeddings and custom models as well."""
        if not self.input_active:
            return Checked(request)
        findings = Findings("input", self._guardrails)
        try:
            pieces = request_pieces(request, self._clean)
        except (Unreadable, RecursionError) as error:
            tokens = isinstance(error, Unreadable)
            findings.failed["input"] = "token numbers cannot be read; send text" if tokens else _TOO_DEEP
            if findings.blocked:
                raise self._error(findings, request, None) from None
            return Checked(request, None, findings.acted, _report(findings, None))
        found = await self._local(findings, pieces)
        findings.fixed = tuple(dict.fromkeys(piece.place for piece in found if piece.fixed))
        masked = edit_request(request, functools.partial(_masked, found)) if found else request
        anonymized = messages_of(masked) if found else None
        if not findings.blocked and _asks(findings):
            await self._endpoints(findings, request, request_text(masked), None, messages_of(masked))
        if findings.blocked:
            raise self._error(findings, request, _plain(anonymized))
        if not findings.acted:
            self._clean = {name: request.body[name] for name in _SHARED if name in request.body}
        return Checked(masked, None, findings.acted, _report(findings, _plain(anonymized)))

    async def check_output(self, request: Request, answer: Answer) -> Checked:
        """The answer as it may be seen. Raises GuardrailBlocked, with what the answer cost.

        Chat and completions only, their whole body. Embeddings and predictions pass.
        """
        if not self.output_active or not (request.task in CHAT_TASKS or request.task == "llm/v1/completions"):
            return Checked(request, answer)
        findings = Findings("output", self._guardrails)
        try:
            return await self._checked_output(findings, request, answer)
        except (RecursionError, orjson.JSONEncodeError):
            findings.failed["output"] = _TOO_DEEP
        if findings.blocked:
            raise findings.error(request.endpoint, None, answer.usage, answer.raw)
        return Checked(request, answer, findings.acted, _report(findings, None))

    async def _checked_output(self, findings: Findings, request: Request, answer: Answer) -> Checked:
        found = await self._local(findings, answer_pieces(request, answer))
        masked = answer
        if found:
            masked = edit_answer(request, answer, functools.partial(_masked, found), [])
        if not findings.blocked and _asks(findings):
            await self._endpoints(findings, request, _prompt(request), answer_text(masked), choices_of(masked))
        only_pii = bool(found) and findings.acted == tuple(f"pii:{entity}" for entity in findings.entities or ())
        # What another filter blocked is not shown, not even masked.
        anonymized = [{"role": "assistant", "content": answer_text(masked)}] if only_pii else None
        if findings.blocked:
            raise findings.error(request.endpoint, anonymized, answer.usage, answer.raw)
        report = _report(findings, anonymized)
        if found:
            masked = edit_answer(request, answer, functools.partial(_masked, found), report or [])
        return Checked(request, masked, findings.acted, report)

    def withhold(self, error: ProviderError) -> None:
        """Takes the answer's words out of an error that an answer became (cut, malformed, refused): they were not
        checked, so neither SQL nor the ledger may show them. The body stays where what is blocked may be logged.
        """
        billed_refusal = error.kind == "content_filter" and isinstance(error.usage, Usage)
        if not self.output_active or not (error.kind in ("bad_answer", "bad_schema", "no_answer") or billed_refusal):
            return
        what = "the model refused" if billed_refusal else f"the answer (HTTP {error.status}) cannot be used"
        error.reason = (
            f"{what}; its words are not shown, because they were not checked by the output guardrails. To find them in "
            "the inference table, set ai_gateway.aiq.guardrails.log_blocked to true"
        )
        error.args = (error.reason,)
        if not self._guardrails.log_blocked:
            error.body = None

    def _error(self, findings: Findings, request: Request, anonymized: list[Any] | None) -> GuardrailBlocked:
        content = None
        if self._guardrails.log_blocked:
            with contextlib.suppress(orjson.JSONEncodeError):  # nested too deeply to be written
                content = orjson.dumps(request.body).decode()
        return findings.error(request.endpoint, anonymized, None, content)

    async def _local(self, findings: Findings, pieces: Sequence[Piece]) -> _Found:
        """Keywords and personal data. Off the loop where there is much to read."""
        size = sum(len(piece.text) for piece in pieces)
        if findings.filters.invalid_keywords:
            find = functools.partial(self._keywords[findings.side].find, [piece.text for piece in pieces])
            try:
                findings.keyword = await self._run(find, size <= INLINE_CHARACTERS)
            except Exception as error:
                findings.failed["invalid_keywords"] = _why(error, self._guardrails.timeout_s)
        if findings.filters.pii == "NONE":
            return {}
        try:
            suspects = pieces
            if size <= GATED_CHARACTERS:
                suspects = [piece for piece in pieces if self._pii.may_hold(piece.text)]
                if not suspects:
                    return {}
            inline = self._pii.inline and sum(len(piece.text) for piece in suspects) <= INLINE_CHARACTERS
            inline = inline and sum(count_digits(piece.text) for piece in suspects) <= INLINE_DIGITS
            found, types = await self._run(functools.partial(self._find, suspects), inline)
        except Exception as error:
            findings.failed["pii"] = _why(error, self._guardrails.timeout_s)
            return {}
        findings.entities = tuple(sorted(types))
        return found

    async def _run(self, function: Callable[[], _T], inline: bool) -> _T:
        """What reads a text. Its time begins when it begins to read, not while others are read before it."""
        if inline:
            return function()
        await self._turn.acquire()
        reading = asyncio.ensure_future(self._off_loop(function))
        reading.add_done_callback(self._read)  # also of one that is late: until then its thread is not free
        return await asyncio.wait_for(asyncio.shield(reading), self._guardrails.timeout_s)

    async def _off_loop(self, function: Callable[[], _T]) -> _T:
        if self._run_off_loop is not None:
            return await self._run_off_loop(function)
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def _read(self, reading: asyncio.Future[Any]) -> None:
        self._turn.release()
        if not reading.cancelled():
            reading.exception()  # which was raised where it was waited for, if it still was

    def _find(self, pieces: Sequence[Piece]) -> tuple[_Found, set[str]]:
        """The masked texts, and the types of what is masked in them."""
        found: _Found = {}
        types: set[str] = set()
        for piece in dict.fromkeys(pieces):
            each: list[Finding] = self._pii.find(piece.text)
            if piece.opaque:
                each = [finding for finding in each if finding.score > _SURE]
            if each:
                found[piece] = mask(piece.text, each)
                types.update(finding.entity_type for finding in each)
        return found, types

    async def _endpoints(
        self, findings: Findings, request: Request, asked: str, answered: str | None, content: list[Any]
    ) -> None:
        """Every guard that asks an endpoint, all at once."""
        filters = findings.filters
        running: list[Awaitable[None]] = []
        if filters.safety:
            running.append(self._guarded(findings, "safety", lambda: self._safety(findings, request, asked, answered)))
        if filters.valid_topics:
            text = asked if answered is None else answered
            running.append(self._guarded(findings, "valid_topics", lambda: self._topics(findings, request, text)))
        for name in filters.custom:
            running.append(
                self._guarded(
                    findings, f"custom:{name}", functools.partial(self._custom, findings, request, name, content)
                )
            )
        await asyncio.gather(*running)

    async def _guarded(self, findings: Findings, name: str, guard: Callable[[], Awaitable[None]]) -> None:
        """Runs a guard; what it raises is a failure of that guard, and so is a call that takes longer than its time.

        That begins with the call: a guard that waits for its turn at a busy endpoint has not failed.
        """
        try:
            await guard()
        except Exception as error:
            findings.failed[name] = _why(error, self._guardrails.timeout_s)

    def _bounded(self, request: Request) -> Request:
        return request._replace(call_timeout_s=self._guardrails.timeout_s)

    async def _safety(self, findings: Findings, request: Request, asked: str, answered: str | None) -> None:
        name, form = self._guardrails.safety_endpoint, self._guardrails.safety_format
        assert name is not None
        task = self._tasks[name]
        answer = await self._ask(self._bounded(request), name, task, safety_body(form, task, asked, answered))
        verdict: Verdict = read_verdict(form, answer.value, self._guardrails.safety_categories)
        findings.verdict = verdict

    async def _topics(self, findings: Findings, request: Request, text: str) -> None:
        name = self._guardrails.topics_endpoint
        assert name is not None
        task = self._tasks[name]
        answer = await self._ask(
            self._bounded(request), name, task, topics_body(task, findings.filters.valid_topics, text)
        )
        findings.off_topic = is_off_topic(answer.value)

    async def _custom(self, findings: Findings, request: Request, name: str, content: list[Any]) -> None:
        task = self._tasks[name]
        answer = await self._ask(self._bounded(request), name, task, custom_body(task, findings.side, content))
        decision: Decision = read_decision(answer.value)
        findings.custom[name] = decision


def _asks(findings: Findings) -> bool:
    filters = findings.filters
    return bool(filters.safety or filters.valid_topics or filters.custom)


def _masked(found: _Found, piece: Piece) -> str:
    return found.get(piece, piece.text)


def _report(findings: Findings, anonymized: list[Any] | None) -> list[dict[str, Any]] | None:
    replies = any(decision.response is not None for decision in findings.custom.values())
    return [findings.element(anonymized)] if findings.acted or replies else None


def _prompt(request: Request) -> str:
    try:
        return request_text(request)
    except Unreadable:
        return ""


def _why(error: Exception, timeout_s: float) -> str:
    """In words that do not show the text."""
    if isinstance(error, TimeoutError) or getattr(error, "kind", None) == "timeout":
        return f"no answer within {timeout_s:g} s"
    if type(error) is ValueError:
        return str(error)
    status = getattr(error, "status", None)
    return f"{type(error).__name__}, status {status}" if status is not None else type(error).__name__


def _plain(messages: list[Any] | None) -> list[Any] | None:
    """Role and content of each message, as Databricks shows them."""
    if messages is None:
        return None
    shown = [m for m in messages if isinstance(m, dict)]
    return [{key: m[key] for key in ("role", "content", "tool_calls") if m.get(key) is not None} for m in shown]
