"""Makes one call of one served entity, with an intent before bytes leave and an outcome after it, whatever its end.

Knows what a call needs and costs; it does not know which entity is asked next (`failover`), or a wire format.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from aiq.errors import ProviderError
from aiq.gateway.access_token import AccessToken
from aiq.gateway.recording import Recorder
from aiq.gateway.routes import MAY_BE_BILLED, Route, Target
from aiq.gateway.trace import Attempt, Trace
from aiq.ledger.prices import cost_of
from aiq.policy.quota import PlaceInFlight
from aiq.policy.structured_output import Mismatch, StructuredOutput
from aiq.providers.base import Chunk, HttpResponse
from aiq.request import Answer, Request, Usage

USAGE_WAIT_S = 2.0
"""A whole answer waits so long for its usage, and for the end of its stream."""
END_WAIT_S = 0.25
"""And after the provider's last word so long for the end, without which the connection cannot be used again."""


class Attempts:
    """Makes the attempts of one gateway."""

    def __init__(self, recorder: Recorder, clock: Callable[[], float]) -> None:
        """`clock` is monotonic, in seconds."""
        self._recorder, self._clock = recorder, clock
        self._structured = StructuredOutput()

    async def make(
        self,
        route: Route,
        target: Target,
        slot: PlaceInFlight,
        request: Request,
        trace: Trace,
        fallback_from: str | None,
        *,
        hedge: bool = False,
    ) -> Attempt:
        """One call for a whole answer, in a slot of the target's gate that is given back."""
        attempt = Attempt(target, slot, trace, fallback_from, self._clock(), hedge=hedge)
        adapter = target.adapter
        try:
            if route.streamed and adapter.streams(request):
                async with aclosing(self._chunks(route, request, trace, attempt)) as chunks:
                    async for _ in chunks:
                        pass
            else:
                if target.token is not None:
                    await self._with_token(target.token, route, attempt)
                wire = target.encode(request)
                await self._recorder.intend(route, request, trace, attempt)
                attempt.sent = self._clock()
                response = await route.connections.of(target.entity.tls).send(wire, self._timeout_s(route, request))
                self._learn(attempt, request, response)
                self._take(request, attempt, adapter.decode(request, response))
        except ProviderError as failure:
            self._failed(attempt, failure)
        except BaseException as failure:  # cancelled, or a fault of ours or of the ledger: it ended all the same
            self._given_up(route, request, trace, attempt, failure)
            raise
        self._ended(route, request, trace, attempt)
        return attempt

    async def stream(
        self, route: Route, target: Target, request: Request, trace: Trace, attempt: Attempt
    ) -> AsyncGenerator[Chunk, None]:
        """The chunks of one call, as `make`. Ends without an error: `attempt` says how it ended."""
        try:
            async with aclosing(self._chunks(route, request, trace, attempt)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except ProviderError as failure:
            self._failed(attempt, failure)
        except BaseException as failure:  # also: the reader has stopped
            self._given_up(route, request, trace, attempt, failure)
            raise
        self._ended(route, request, trace, attempt)

    async def _chunks(
        self, route: Route, request: Request, trace: Trace, attempt: Attempt
    ) -> AsyncGenerator[Chunk, None]:
        adapter, clock = attempt.target.adapter, self._clock
        if attempt.target.token is not None:
            await self._with_token(attempt.target.token, route, attempt)
        wire = attempt.target.encode(request, stream=True)
        await self._recorder.intend(route, request, trace, attempt)
        attempt.sent = clock()
        timeout_s = self._timeout_s(route, request)
        ends = attempt.sent + timeout_s
        silent_at, waited_for = attempt.sent + route.first_token_s, "first_token_timeout_s"
        try:
            transport = route.connections.of(attempt.target.entity.tls)
            stream = await transport.stream(wire, timeout_s, min(silent_at, ends) - clock())
        except TimeoutError:
            raise _silent(route, silent_at, ends, waited_for) from None
        try:
            head = HttpResponse(stream.status, stream.header, b"")
            self._learn(attempt, request, head)
            decoder = attempt.decoder = adapter.decoder(request, head)
            while True:
                is_complete = decoder.ended or decoder.complete
                try:
                    piece = await stream.read(max(0.0, min(silent_at, ends) - clock()))
                    chunks = decoder.feed(piece)
                except (TimeoutError, ProviderError) as failure:
                    if is_complete:  # what is missing is not a part of the answer
                        break
                    if isinstance(failure, ProviderError):
                        raise
                    raise _silent(route, silent_at, ends, waited_for) from None
                if not piece:
                    break
                for chunk in chunks:
                    if chunk.token:
                        if attempt.first_token is None:
                            attempt.first_token = clock()
                        silent_at, waited_for = clock() + route.idle_s, "idle_timeout_s"
                    yield chunk
                if decoder.ended:
                    silent_at = min(silent_at, clock() + END_WAIT_S)
                elif decoder.complete:
                    silent_at = min(silent_at, clock() + USAGE_WAIT_S)
            self._take(request, attempt, decoder.end())
        finally:
            await stream.close()

    def _take(self, request: Request, attempt: Attempt, answer: Answer) -> None:
        """Takes an answer if it has the form that was asked for. Raises ProviderError."""
        checked = self._structured.check(request, answer)
        if isinstance(checked, Mismatch):
            attempt.repair = checked.repair
            raise checked.error
        attempt.answer = checked

    @staticmethod
    def _learn(attempt: Attempt, request: Request, response: HttpResponse) -> None:
        """Tells the gate what is left of the provider's quota, where the response states it."""
        stated = attempt.target.adapter.stated_limits(response)
        if stated is not None:
            refused = response.status == 429
            attempt.lacking = attempt.target.gate.learn(attempt.slot, request, stated, refused=refused)

    def _timeout_s(self, route: Route, request: Request) -> float:
        most_s = route.timeout_s
        if request.call_timeout_s is not None:
            most_s = min(most_s, request.call_timeout_s)
        if request.deadline_s is None:
            return most_s
        return max(0.001, min(most_s, request.deadline_s - self._clock()))

    def _ended(self, route: Route, request: Request, trace: Trace, attempt: Attempt) -> None:
        """Lets the gate, the retry quota, the health and the bill learn how an attempt ended."""
        target, answer, error = attempt.target, attempt.answer, attempt.error
        trace.in_flight -= 1
        billed = answer.usage if answer is not None else error.usage if error is not None else None
        target.gate.settle(attempt.slot, billed.output_tokens if isinstance(billed, Usage) else None)
        target.gate.release(attempt.sent, error, lacking=attempt.lacking)
        if error is None:
            assert answer is not None
            target.quota.succeeded()
            target.health.answered()
            if target.breaker.opens_again:
                target.gate.reopen()
            target.breaker.answered(first=attempt.number == 1)
            if route.hedged:
                target.latencies.add(self._clock() - attempt.sent)
            cost = self._bill(target, trace, answer.usage)
            attempt.answer = answer._replace(cost_usd=cost, entity=target.entity.name)
            return
        error.endpoint, error.entity, error.attempts = route.endpoint.name, target.entity.name, trace.attempt
        if route.guards is not None:
            route.guards.withhold(error)
        target.health.failed(error.kind, probe=attempt.probe, retry_after_s=error.retry_after_s)
        target.breaker.failed(error, request.statement_id, attempt.number, lacking=attempt.lacking)
        if isinstance(error.usage, Usage):
            self._bill(target, trace, error.usage)
        elif error.kind in MAY_BE_BILLED:
            trace.unknown = True

    @staticmethod
    async def _with_token(token: AccessToken, route: Route, attempt: Attempt) -> None:
        """Sees to it that there is a token that is still good, and notes which one it is."""
        if token.due:
            await token.renew(route.connections.transport)
        attempt.token_number = token.number

    @staticmethod
    def _failed(attempt: Attempt, error: ProviderError) -> None:
        attempt.error = error
        token = attempt.target.token
        ended = error.stale_credential or (error.status == 401 and error.kind == "auth")
        if ended and token is not None and attempt.token_number and token.refused(attempt.token_number):
            error.kind = "adapted"
        if error.usage is None and attempt.decoder is not None:
            error.usage = attempt.decoder.partial()

    def _given_up(self, route: Route, request: Request, trace: Trace, attempt: Attempt, failure: BaseException) -> None:
        target = attempt.target
        trace.in_flight -= 1
        usage = attempt.decoder.partial() if attempt.decoder is not None else None
        target.gate.settle(attempt.slot, None if usage is None else usage.output_tokens)
        target.gate.release(attempt.sent, failure)
        target.health.left(probe=attempt.probe)
        if usage is None and trace.winner is not None:  # the same request to another model
            won = trace.winner.usage
            usage = Usage(won.input_tokens, won.output_tokens, estimated=True)
        if usage is None:
            trace.unknown = True
        else:
            self._bill(target, trace, usage)
        status = "cancelled" if isinstance(failure, asyncio.CancelledError | GeneratorExit) else "error"
        final = trace.winner is None and not trace.in_flight
        self._recorder.attempt(route, request, trace, attempt, status, final=final, usage=usage)

    @staticmethod
    def _bill(target: Target, trace: Trace, usage: Usage) -> float | None:
        """Adds what an attempt was billed to its request. The attempt's US dollars, None if unknown."""
        cost = cost_of(target.price, usage)
        trace.add_bill(usage, 0.0 if cost is None and not target.unpriced and target.price is None else cost)
        return cost


def _silent(route: Route, silent_at: float, ends: float, waited_for: str) -> ProviderError:
    first = waited_for == "first_token_timeout_s"
    limit_s = route.first_token_s if first else route.idle_s
    if ends <= silent_at or not math.isfinite(limit_s):
        words = f"no whole answer within {route.timeout_s:g} s; raise timeout_s in conf/aiq.yml if the model needs more"
    else:
        words = f"{'no token' if first else 'the stream was silent'} for {limit_s:g} s ({waited_for} of ai_gateway.aiq)"
    return ProviderError(words, kind="timeout", status=504)
