"""The steps that every request passes, in their order, whether its answer is read at once or as a stream.

    admit      permission, then its turn under every rate limit        admission.py
    screen     input guardrails, links to images                       screening.py
    failover   the next served entity until one answers                failover.py
      attempt  one call, with its intent and its outcome               attempt.py
    settle     corrects what the limits were charged to what was used  admission.py

Each step that ends a request records that (recording.py), so that every request has exactly one final row.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from types import TracebackType

from aiq.errors import PolicyError
from aiq.gateway.admission import Admission
from aiq.gateway.failover import Failover
from aiq.gateway.recording import Recorder
from aiq.gateway.routes import Route, Routes
from aiq.gateway.screening import Screening
from aiq.gateway.trace import NextAttempt, Trace
from aiq.providers.base import Chunk
from aiq.request import Answer, Request, text_characters


class Pipeline:
    """The steps of one gateway. On its event loop."""

    def __init__(
        self,
        routes: Routes,
        admission: Admission,
        screening: Screening,
        failover: Failover,
        recorder: Recorder,
        clock: Callable[[], float],
    ) -> None:
        """`clock` is monotonic, in seconds."""
        self.routes, self.recorder, self.clock = routes, recorder, clock
        self.admission, self.screening, self.failover = admission, screening, failover

    async def answer(
        self, request: Request, next_attempt: NextAttempt | None = None, *, of_guard: bool = False
    ) -> Answer:
        """The answer to one request: see `Gateway.answer`. One that is asked `of_guard` needs no permission."""
        if self.routes.may_be_outdated:
            await self.routes.refresh_from_loop()
        with _Passage(self, request) as passage:
            passage.trace.next_attempt = next_attempt
            await self._admit_and_screen(passage, of_guard)
            return await self.failover.answer(passage.route, passage.request, passage.trace)

    async def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """The answer to one request in chunks: see `Gateway.stream`."""
        if self.routes.may_be_outdated:
            await self.routes.refresh_from_loop()
        route = self.routes.serving(request.endpoint)
        if not all(target.adapter.streams(request) for target in route.targets.values()):
            raise _no_stream(request)
        if route.guards is not None and route.guards.output_active:  # they read a whole answer before it leaves
            answer = await self.answer(request)
            yield Chunk.of(answer, request.task)
            yield Chunk.last(answer, request.task)
            return
        with _Passage(self, request, streaming=True) as passage:
            await self._admit_and_screen(passage, False)
            async with aclosing(self.failover.stream(passage.route, passage.request, passage.trace)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def _admit_and_screen(self, passage: _Passage, of_guard: bool) -> None:
        while not await self.admission.admit(passage.route, passage.request, passage.trace, of_guard=of_guard):
            passage.enter_again()
        if self.screening.wanted(passage.route, passage.request):
            passage.request = await self.screening.screened(
                passage.route, passage.request, passage.trace, self.routes.config.settings
            )


class _Passage:
    """One request on its way, and what is due on every way out: its last row, its limits, its use of the route."""

    __slots__ = ("pipeline", "request", "route", "trace")

    def __init__(self, pipeline: Pipeline, request: Request, *, streaming: bool = False) -> None:
        """Raises PolicyError for an endpoint that is not configured any more."""
        self.pipeline, self.request = pipeline, request
        self.route: Route = pipeline.routes.enter(request.endpoint)
        self.trace = Trace(pipeline.clock(), request.id, streaming=streaming)
        guards = self.route.guards
        if guards is not None and guards.input_active:  # the log shows nothing of it before it was checked
            self.trace.request_json, self.trace.characters = "", text_characters(request.body)

    def enter_again(self) -> None:
        """Goes on with the route that has replaced the request's. Raises PolicyError where there is none."""
        before, routes = self.route, self.pipeline.routes
        self.route = routes.enter(self.request.endpoint)
        routes.leave(before)

    def __enter__(self) -> _Passage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None and not self.trace.ended and issubclass(kind, asyncio.CancelledError | GeneratorExit):
            self.pipeline.recorder.cancelled(self.route, self.request, self.trace)
        self.pipeline.admission.settle(self.route, self.trace)
        self.pipeline.routes.leave(self.route)


def _no_stream(request: Request) -> PolicyError:
    return PolicyError(
        f"Endpoint '{request.endpoint}' has task {request.task}, whose answers do not come in pieces. Ask for "
        "the whole answer.",
        endpoint=request.endpoint,
        status=400,
        error_code="BAD_REQUEST",
    )
