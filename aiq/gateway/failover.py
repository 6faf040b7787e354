"""Retries and fallbacks: asks a served entity again, or the next one, until one answers or policy gives up.

Knows routes and what policy says of errors; a call itself is made by `attempt`, and neither knows a wire format.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from aiq.errors import GuardrailBlocked, ProviderError, StreamBroken
from aiq.gateway.attempt import Attempts
from aiq.gateway.recording import Recorder
from aiq.gateway.routes import Route, Target, cost_of_failure
from aiq.gateway.trace import Attempt, Trace
from aiq.policy.breaker import Breaker
from aiq.policy.quota import PlaceInFlight
from aiq.policy.retry import MAX_HINT_BEFORE_FALLBACK_S, Step
from aiq.providers.base import Chunk
from aiq.request import Answer, Request

MOST_RETRIES_OF_SUSPECTS = 3
MOST_REFUSED = 10
"""Refusals (429) of a row that do not count as retries, because it was only not its turn: others were answered."""
_log = logging.getLogger("aiq.gateway")
_OF_ENDED_STREAMS = frozenset({"content_filter", "bad_schema", "no_answer"})
"""Errors of an answer that arrived whole."""
_QUOTA_SPENT = (
    " (not tried again there: more than about one request in six fails, and the quota of retries of this served entity "
    "is spent)"
)


def _is_patient(request: Request) -> bool:
    """Whether it may wait out an outage: the row of a batch."""
    return not request.interactive and request.deadline_s is None


def _in_vain(breaker: Breaker) -> str:
    return (
        f" (nothing was answered since {breaker.failed_probes} requests tried it again, one at a time; run the "
        "statement again when the provider answers: what was answered before is kept)"
    )


class _Walk:
    """Where a request stands among the entities of its route. `asked` is what is sent: the request, or its repair."""

    __slots__ = (
        "answers",
        "asked",
        "fallbacks",
        "order",
        "position",
        "probes",
        "refused",
        "repaired",
        "request",
        "retries",
        "route",
        "waited_s",
    )

    def __init__(self, route: Route, request: Request, trace: Trace) -> None:
        self.route = route
        self.request = self.asked = request
        self.repaired = False
        self.order = route.router.order(request)
        self.position = route.router.first(self.order)
        self.fallbacks = self.retries = 0
        self.refused = 0  # refusals while others were answered, which do not count as retries
        self.waited_s = 0.0  # at this entity, for the end of pauses
        self.probes = False  # whether it is sent to try an entity for all that wait
        self.answers = self.target.breaker.answers  # of other requests, before this one's attempt
        if self.position:  # the entity that the request was for is ejected
            self.fallbacks = 1
            trace.fallback_from, trace.fallback_reason = self.order[0].name, "ejected"

    @property
    def target(self) -> Target:
        return self.route.targets[self.order[self.position].name]

    def next(self, *, larger: bool = False) -> int | None:
        return self.route.router.next(self.order, self.position, self.fallbacks, larger=larger)

    def offer_s(self, position: int | None) -> float:
        """Seconds that the entity at a position would let this request wait; 0 for none."""
        if position is None:
            return 0.0
        return self.route.targets[self.order[position].name].gate.wait_s(self.request)

    def move(self, position: int, trace: Trace, reason: str) -> None:
        """Goes on to another entity because of `reason`: an error class, or `paused`."""
        trace.fallback_from, trace.fallback_reason = self.order[self.position].name, reason
        self.position, self.retries, self.refused, self.waited_s = position, 0, 0, 0.0
        self.answers = self.target.breaker.answers
        self.fallbacks += 1
        self.asked, trace.repairing = self.request, False

    def repair(self, asked: Request, trace: Trace) -> None:
        """Asks the same entity to correct its answer, which it is asked for once."""
        self.asked, self.repaired, trace.repairing = asked, True, True


class Failover:
    """Finds an answer. One per gateway."""

    def __init__(
        self,
        attempts: Attempts,
        recorder: Recorder,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        """`clock` is monotonic, in seconds, and `sleep` waits by it."""
        self._attempts, self._recorder, self._clock, self._sleep = attempts, recorder, clock, sleep

    async def answer(self, route: Route, request: Request, trace: Trace) -> Answer:
        """The answer, after as many attempts as policy allows. Raises ProviderError."""
        walk = _Walk(route, request, trace)
        while True:
            trace.ready = self._clock()
            probed = await self._probes(walk, request, trace) if walk.target.breaker.is_open else None
            walk.probes = probed is not None
            if probed is not None:
                failed = False
                try:
                    attempt = await self._attempt(walk, request, trace)
                    failed = attempt.answer is None
                finally:
                    probed.probe_ended(failed=failed)
            else:
                attempt = await self._attempt(walk, request, trace)
            if attempt.answer is not None:
                return await self._checked(route, request, trace, attempt, attempt.answer)
            await self._again(walk, attempt, request, trace)

    async def _attempt(self, walk: _Walk, request: Request, trace: Trace) -> Attempt:
        """One attempt for a whole answer at the entity where the request stands, in a slot of its gate."""
        route, target = walk.route, walk.target
        slot = target.gate.try_acquire(walk.asked)
        if slot is None:
            target, slot = await self._slot(walk, request, trace)
        if route.hedged and target.latencies.delay_s is not None:
            return await self._hedged(walk, target, slot, target.latencies.delay_s, walk.asked, trace)
        return await self._attempts.make(route, target, slot, walk.asked, trace, trace.fallback_from)

    async def _probes(self, walk: _Walk, request: Request, trace: Trace) -> Breaker | None:
        """Waits while the entity answers nothing and a batch can ask no other: the breaker where this request probes.

        Raises ProviderError where it is given up without having been sent.
        """
        target, breaker = walk.target, walk.target.breaker
        if not _is_patient(request) or walk.next() is not None:
            return None
        if not breaker.announced:
            breaker.announced = True
            _log.warning(
                "served entity '%s' of endpoint '%s' does not answer (the last error: %s). The rows wait, and one at a "
                "time is sent to it, the next in %.2g s",
                target.entity.name,
                walk.route.endpoint.name,
                breaker.last_words,
                breaker.pause_s,
            )
        turn = await breaker.turn(request.statement_id, fresh=not trace.attempt)
        if turn == "give_up":
            raise self._given_up(walk, target, request, trace)
        if turn == "last":
            target.gate.restore()
        if turn != "probe":
            return None
        following = walk.next()
        if following is None:
            return breaker
        breaker.probe_ended(failed=False)
        walk.move(following, trace, "ejected")  # another entity may be asked by now
        return None

    def _given_up(self, walk: _Walk, target: Target, request: Request, trace: Trace) -> ProviderError:
        """The error of a request that is not sent, because the entity has been silent for too long."""
        last = target.breaker.last_error
        assert last is not None
        error = ProviderError(
            f"{target.breaker.last_words}{_in_vain(target.breaker)}",
            kind=last.kind,
            status=last.status,
            endpoint=walk.route.endpoint.name,
            entity=target.entity.name,
        )
        self._recorder.refused(walk.route, request, trace, error)
        return error

    async def _checked(self, route: Route, request: Request, trace: Trace, attempt: Attempt, answer: Answer) -> Answer:
        """The answer as it may be seen, which is what the ledger gets. Raises GuardrailBlocked."""
        if route.guards is not None and route.guards.output_active:
            attempt.answer = None
            try:
                checked = await route.guards.check_output(request, answer)
            except GuardrailBlocked as blocked:
                trace.guards += tuple(f"output:{finding}" for finding in blocked.findings)
                self._recorder.attempt(route, request, trace, attempt, "refused", final=True, refusal=blocked)
                raise
            except BaseException as failure:
                status = "cancelled" if isinstance(failure, asyncio.CancelledError) else "error"
                self._recorder.attempt(route, request, trace, attempt, status, final=True, usage=answer.usage)
                raise
            assert checked.answer is not None
            attempt.answer = answer = checked.answer
            trace.guards += tuple(f"output:{finding}" for finding in checked.acted)
        self._recorder.attempt(route, request, trace, attempt, "ok", final=True)
        return answer

    async def stream(self, route: Route, request: Request, trace: Trace) -> AsyncGenerator[Chunk, None]:
        """The answer in chunks, the usage in the last. No other entity is asked once a token has left.

        Raises ProviderError before the first token; after it StreamBroken, or at the end what a refusal or an answer
        of the wrong form is.
        """
        walk = _Walk(route, request, trace)
        while True:
            target, trace.ready = walk.target, self._clock()
            slot = target.gate.try_acquire(walk.asked)
            if slot is None:
                target, slot = await self._slot(walk, request, trace)
            attempt = Attempt(target, slot, trace, trace.fallback_from, self._clock())
            held: list[Chunk] = []
            left = False
            async with aclosing(self._attempts.stream(route, target, walk.asked, trace, attempt)) as chunks:
                async for chunk in chunks:
                    held.append(chunk)
                    if left or chunk.token:
                        left = True
                        for ready in held:
                            yield ready
                        held.clear()
            answer, error = attempt.answer, attempt.error
            if answer is not None:
                self._recorder.attempt(route, request, trace, attempt, "ok", final=True)
                for chunk in held if left or held else [Chunk.of(answer, request.task)]:
                    yield chunk
                yield Chunk.last(answer, request.task)
                return
            assert error is not None
            if left:
                self._recorder.attempt(route, request, trace, attempt, "error", final=True)
                raise error if error.kind in _OF_ENDED_STREAMS else StreamBroken.after(error)
            await self._again(walk, attempt, request, trace)

    async def _slot(self, walk: _Walk, request: Request, trace: Trace) -> tuple[Target, PlaceInFlight]:
        """The target to ask now, and a slot of its gate that had to be waited for."""
        while True:
            target, following = walk.target, walk.next()
            patience_s = math.inf
            if following is not None or request.interactive:
                patience_s = max(0.0, MAX_HINT_BEFORE_FALLBACK_S - walk.waited_s)
                if not request.interactive:
                    patience_s = max(patience_s, walk.offer_s(following))
            if request.deadline_s is not None:
                patience_s = min(patience_s, request.deadline_s - self._clock())
            slot = await target.gate.acquire(patience_s, walk.asked)
            if slot is not None:
                return target, slot
            if following is None:
                raise self._no_slot(walk, target, request, trace)
            walk.move(following, trace, "paused")
            trace.ready = self._clock()

    @staticmethod
    def _waits_too_long(walk: _Walk, delay_s: float, offer_s: float) -> bool:
        """Whether a row has waited so long at an entity, with another pause, that it goes to the next one."""
        return walk.waited_s + delay_s > MAX_HINT_BEFORE_FALLBACK_S and offer_s < delay_s

    def _no_slot(self, walk: _Walk, target: Target, request: Request, trace: Trace) -> ProviderError:
        pause_s = target.gate.wait_s(request)
        words = "asked for a pause of" if target.gate.pause_s >= pause_s else "has no quota left for"
        error = ProviderError(
            f"the provider {words} {pause_s:.0f} s; ask again after it",
            kind="rate_limited",
            status=429,
            endpoint=walk.route.endpoint.name,
            entity=target.entity.name,
            retry_after_s=pause_s or None,
        )
        error.attempts = max(1, trace.attempt)
        self._recorder.refused(walk.route, request, trace, error)
        return error

    async def _again(self, walk: _Walk, attempt: Attempt, request: Request, trace: Trace) -> None:
        """Waits or moves on after a failed attempt, as policy says; raises its error where it was the last one."""
        target, error = attempt.target, attempt.error
        assert error is not None
        if error.status == 500 and request.task == "llm/v1/embeddings":
            # llama.cpp and Ollama fail so at one text: a pack is halved soon, what is left of it given up in seconds.
            error.once = request.rows > 1 or (request.suspect and walk.retries >= MOST_RETRIES_OF_SUSPECTS)
        following = walk.next(larger=error.kind == "context_length")
        more = following is not None
        repair = None if walk.repaired else attempt.repair
        breaker, patient = target.breaker, not more and not trace.streaming and _is_patient(request)
        answers_others = breaker.answers > walk.answers
        step = walk.route.retry.decide(
            error,
            max(0, walk.retries - walk.probes),  # a probe is not the row's own retry
            target.quota,
            next_entity=more,
            hurry=request.interactive,
            repair=repair is not None,
            patient=patient,
            answers_others=answers_others,
            chance=breaker.chance if answers_others or not breaker.is_open else 0.0,
            offer_s=walk.offer_s(following),
        )
        pauses = error.kind == "rate_limited" and step.action == "again"
        given_up = patient and breaker.given_up(request.statement_id) and error.kind != "adapted"
        if step.action == "again" and (
            given_up
            or (more and target.health.ejected and error.kind != "adapted")
            or (more and pauses and self._waits_too_long(walk, step.delay_s, walk.offer_s(following)))
            or (request.deadline_s is not None and self._clock() + step.delay_s > request.deadline_s)
        ):
            step = Step("next" if more and repair is None else "fail")
        final = step.action == "fail"
        if step.spent:
            error.reason += _QUOTA_SPENT
        elif final and given_up:
            error.reason += _in_vain(breaker)
        self._recorder.attempt(walk.route, request, trace, attempt, "error", final=final)
        if final:
            raise error
        if step.action == "next":
            assert following is not None
            walk.move(following, trace, error.kind)
        elif repair is not None:
            walk.repair(repair, trace)
        elif pauses and patient and answers_others and walk.refused < MOST_REFUSED:
            walk.refused += 1
        elif not walk.probes:
            walk.retries += 1
        walk.answers = breaker.answers
        if trace.next_attempt is not None:
            await trace.next_attempt(cost_of_failure(error, [target.price]), walk.asked)
        if pauses:
            walk.waited_s += step.delay_s
        if step.action == "again" and not (patient and breaker.is_open and error.retry_after_s is None):
            await self._sleep(step.delay_s)  # else the breaker says when

    async def _hedged(
        self, walk: _Walk, target: Target, slot: PlaceInFlight, delay_s: float, request: Request, trace: Trace
    ) -> Attempt:
        """One call, and after `delay_s` a second one at the same time: the first answer wins, the other is cancelled.

        The second is asked of the next entity, or of the same where there is none, and only in a slot that is free.
        """
        route, make = walk.route, self._attempts.make
        following = walk.next()
        other = target if following is None else route.targets[walk.order[following].name]
        calls = [asyncio.ensure_future(make(route, target, slot, request, trace, trace.fallback_from))]
        timer = asyncio.ensure_future(self._sleep(delay_s))
        try:
            await asyncio.wait((calls[0], timer), return_when=asyncio.FIRST_COMPLETED)
            free = other.gate.try_acquire(request) if not calls[0].done() and other.quota.spend() else None
            if free is not None:
                instead_of = trace.fallback_from if other is target else target.entity.name
                calls.append(asyncio.ensure_future(make(route, other, free, request, trace, instead_of, hedge=True)))
            pending = set(calls)
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                won = next((call.result() for call in calls if call in done and call.result().answer is not None), None)
                if won is not None:
                    trace.winner = won.answer
                    break
        finally:
            for call in (timer, *calls):
                call.cancel()
            await asyncio.gather(timer, *calls, return_exceptions=True)
        attempts = [call.result() for call in calls if not call.cancelled()]
        best = won or attempts[0]
        for attempt in attempts:
            if attempt is not best and attempt.error is not None:
                self._recorder.attempt(route, request, trace, attempt, "error", final=False)
            elif attempt is not best:  # both answered in the same moment
                self._recorder.attempt(route, request, trace, attempt, "ok", final=False)
        return best
