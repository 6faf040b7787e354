"""The pipeline every request passes, whatever asked it: admit -> route -> call -> retry or fall back -> record.

Runs on one event loop. Knows policy and ledger, but no wire format and no engine.
"""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import orjson

from aiq.config.describe import nearest
from aiq.config.endpoint import Config, Endpoint, ServedEntity
from aiq.errors import BudgetExceeded, PolicyError, ProviderError, RequestFailed, StatementError
from aiq.ledger.answers import AnswerStore
from aiq.ledger.ledger import Ledger
from aiq.ledger.prices import PriceTag, price_of
from aiq.ledger.records import Intent, Outcome
from aiq.policy.concurrency import Gate
from aiq.policy.limits import RateLimiter
from aiq.policy.retry import MAX_HINT_BEFORE_FALLBACK_S, RetryPolicy, RetryQuota, Step
from aiq.policy.routing import Router
from aiq.providers import Adapter, adapter_for
from aiq.providers.base import text_characters
from aiq.request import Answer, Caller, Request, Usage, new_request_id
from aiq.transport import Transport, open_transport

UNBOUNDED_TOKENS = 4096
"""Tokens of an answer that a budget reserves for where the request sets no limit."""


class _Target(NamedTuple):
    """A served entity with what is needed to call it."""

    entity: ServedEntity
    adapter: Adapter
    gate: Gate
    quota: RetryQuota
    price: PriceTag | None


class _Route(NamedTuple):
    """An endpoint with what is needed to serve it."""

    endpoint: Endpoint
    limiter: RateLimiter
    router: Router
    targets: dict[str, _Target]
    timeout_s: float


class _Trace:
    """What the ledger will say of one request. Times in seconds of the monotonic clock unless said."""

    __slots__ = (
        "attempt",
        "characters",
        "ended",
        "fallback_from",
        "limit_wait_s",
        "ready",
        "request_id",
        "request_json",
    )

    def __init__(self, ready: float) -> None:
        self.request_id = new_request_id()
        self.ready = ready  # for the attempt that comes next
        self.ended = False
        self.attempt = 0
        self.limit_wait_s = 0.0
        self.fallback_from: str | None = None
        self.request_json: str | None = None
        self.characters = 0


class Gateway:
    """Serves the endpoints of one configuration. One per configuration, home and process."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        *,
        transport: Transport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        rng: random.Random | None = None,
        answers: AnswerStore | None = None,
    ) -> None:
        """`answers` are the kept answers of the home, None to keep none.

        `transport` None opens the one of the settings with the first endpoint. `clock` is monotonic, in seconds, and
        `sleep` waits by it.
        """
        self.config, self.ledger, self.answers = config, ledger, answers
        self._transport, self._clock, self._sleep = transport, clock, sleep
        self._rng = rng or random.Random()
        self._retry = RetryPolicy(config.settings, self._rng)
        self._routes: dict[str, _Route] = {}
        self._opening = threading.Lock()
        self.waiting_for_limits = 0

    def endpoint(self, name: str) -> Endpoint:
        """Raises StatementError, with the nearest name, for an endpoint that is not configured."""
        found = self.config.endpoints.get(name)
        if found is None:
            known = ", ".join(sorted(self.config.endpoints)) or "none"
            raise StatementError(
                f"Endpoint with name '{name}' does not exist.{nearest(name, self.config.endpoints)} "
                f"Configured in {self.config.folder}/endpoints: {known}."
            )
        return found

    def concurrency(self, name: str) -> int:
        """Requests the endpoint can have in flight: the sum over its served entities that take traffic."""
        each = self._concurrency(name)
        return each * max(1, sum(e.traffic_percentage > 0 for e in self.endpoint(name).entities))

    def prices(self, name: str) -> list[tuple[float, PriceTag | None]]:
        """The share of traffic and the price of each entity of an opened endpoint that takes traffic."""
        targets = [target for target in self._routes[name].targets.values() if target.entity.traffic_percentage > 0]
        return [(target.entity.traffic_percentage / 100, target.price) for target in targets]

    def calls_per_minute(self, name: str, user: str) -> int | None:
        """The lowest rate limit of an opened endpoint that holds for a user; None where there is none."""
        return min((window.calls for window, _ in self._routes[name].limiter.windows(user)), default=None)

    def open_endpoint(self, name: str) -> Endpoint:
        """Makes an endpoint ready to be asked, credentials included. Any thread but the event loop's, before `answer`.

        Raises StatementError for an unknown name, SecretError for a credential that cannot be found, and ConfigError
        for an unusable proxy or CA file.
        """
        with self._opening:
            if self._transport is None:
                self._transport = open_transport(self.config.settings)
            if name not in self._routes:
                self._routes[name] = self._route(name)
            return self._routes[name].endpoint

    async def answer(self, request: Request) -> Answer:
        """The answer to one request, after as many attempts as policy allows. Its endpoint was opened before.

        Raises ProviderError or PolicyError where there is none. Every attempt leaves an intent and an outcome, and
        exactly one outcome of a request is final.
        """
        route = self._routes[request.endpoint]
        trace = _Trace(self._clock())
        try:
            await self._admit(route, request, trace)
            return await self._ask(route, request, trace)
        except asyncio.CancelledError:
            if not trace.ended:  # while it waited: for a limit, a slot or the next attempt
                trace.attempt += trace.attempt > 0
                now_us = time.time_ns() // 1000
                self._record(route, None, request, trace, now_us, None, "cancelled", None, None, final=True)
            raise

    async def _ask(self, route: _Route, request: Request, trace: _Trace) -> Answer:
        order = route.router.order()
        for position, entity in enumerate(order):
            target, retries, more = route.targets[entity.name], 0, position + 1 < len(order)
            patience_s = MAX_HINT_BEFORE_FALLBACK_S if more else math.inf
            trace.ready = self._clock()
            while await target.gate.acquire(patience_s):
                result = await self._attempt(route, target, request, trace, retries, more)
                if isinstance(result, Answer):
                    return result
                error, step = result
                if step.action == "fail":
                    raise error
                if step.action == "next":
                    break
                retries += 1
                await self._sleep(step.delay_s)
                trace.ready = self._clock()
            trace.fallback_from = entity.name
        raise AssertionError("the last entity either answers or fails")

    def record_hit(self, endpoint: str, caller: Caller, statement_id: str) -> None:
        """A request that was answered from what is kept: a row of the ledger that cost nothing. On the event loop."""
        route = self._routes[endpoint]
        self.ledger.record(
            Outcome(
                new_request_id(), 0, statement_id, endpoint, None, None, None, None, route.endpoint.task, caller.user,
                time.time_ns() // 1000, "ok", None, None, None, None, 0.0, 0.0, 0, 0, 0, 0, False, 0.0, None, 1, None,
                True, None, True,
            )
        )  # fmt: skip

    def most_it_costs(self, request: Request) -> float:
        """US dollars that one call for a request can cost at the most, at the dearest entity of its endpoint.

        Tokens in: no more than half the bytes of the body; out: what the request allows, else 4,096. Raises
        BudgetExceeded where a price is not known, because then nothing can be promised.
        """
        tokens_in = len(orjson.dumps(request.body)) // 2 + 16
        allowed = request.body.get("max_tokens") or request.body.get("max_completion_tokens") or UNBOUNDED_TOKENS
        tokens_out = 0 if request.task == "llm/v1/embeddings" else int(allowed)
        most = 0.0
        for target in self._routes[request.endpoint].targets.values():
            if target.price is None and target.entity.provider != "model-server":
                raise BudgetExceeded(
                    f"aiq_max_cost_usd cannot be kept: the price of model '{target.entity.model}' of endpoint "
                    f"'{request.endpoint}' is not known. Set it under prices in conf/aiq.yml."
                )
            if target.price is not None:
                most = max(most, target.price.cost_usd(Usage(tokens_in, tokens_out)))
        return most

    def cost_of_failure(self, error: RequestFailed) -> float:
        """US dollars of a request that failed: those of an answer that was billed and not usable."""
        usage = getattr(error, "usage", None)
        prices = [t.price for t in self._routes[error.endpoint].targets.values() if t.price is not None]
        return max((price.cost_usd(usage) for price in prices), default=0.0) if isinstance(usage, Usage) else 0.0

    async def close(self) -> None:
        """Closes the connections. The ledger belongs to whoever opened it."""
        if self._transport is not None:
            await self._transport.close()

    async def _admit(self, route: _Route, request: Request, trace: _Trace) -> None:
        endpoint = route.endpoint
        try:
            if not endpoint.may_query(request.caller):
                raise PolicyError(
                    f"User '{request.caller.user}' does not have CAN_QUERY on endpoint '{endpoint.name}'. Grant it "
                    f"under permissions in {endpoint.file}, or connect as another user.",
                    endpoint=endpoint.name,
                    status=403,
                    error_code="PERMISSION_DENIED",
                )
            if route.limiter.limited:
                self.waiting_for_limits += 1
                try:
                    trace.limit_wait_s = await route.limiter.acquire(request)
                finally:
                    self.waiting_for_limits -= 1
        except PolicyError as error:
            body = orjson.dumps({"error_code": error.error_code, "message": error.reason}).decode()
            self._record(route, None, request, trace, time.time_ns() // 1000, None, "refused", error, body, final=True)
            raise

    async def _attempt(
        self, route: _Route, target: _Target, request: Request, trace: _Trace, retries: int, more: bool
    ) -> Answer | tuple[ProviderError, Step]:
        """One call to one entity, in a slot of its gate: an answer, or the error and what to do about it."""
        gate, adapter, entity = target.gate, target.adapter, target.entity
        trace.attempt += 1
        error: ProviderError | None = None
        end: BaseException | None = None
        sent = self._clock()
        start_us = time.time_ns() // 1000
        try:
            wire = adapter.encode(request)
            await self.ledger.intend(
                Intent(
                    trace.request_id, trace.attempt, request.statement_id, route.endpoint.name, entity.id,
                    request.caller.user, start_us,
                )
            )  # fmt: skip
            sent = self._clock()
            assert self._transport is not None
            response = await self._transport.send(wire, route.timeout_s)
            answer = adapter.decode(request, response)
        except ProviderError as failure:
            error = end = failure
        except BaseException as failure:  # cancelled, or a fault of ours or of the ledger: it ended all the same
            end = failure
            status = "cancelled" if isinstance(failure, asyncio.CancelledError) else "error"
            self._record(route, target, request, trace, start_us, sent, status, None, None, final=True)
            raise
        finally:
            gate.release(sent, end)
        if error is None:
            target.quota.succeeded()
            cost = None if target.price is None else target.price.cost_usd(answer.usage)
            answer = answer._replace(cost_usd=cost)
            self._record(route, target, request, trace, start_us, sent, "ok", answer, answer.raw, final=True)
            return answer
        error.endpoint, error.entity, error.attempts = route.endpoint.name, entity.name, trace.attempt
        step = self._retry.decide(error, retries, target.quota, next_entity=more)
        body = error.body or orjson.dumps({"error_code": error.kind, "message": error.reason}).decode()
        self._record(route, target, request, trace, start_us, sent, "error", error, body, final=step.action == "fail")
        return error, step

    def _record(
        self,
        route: _Route,
        target: _Target | None,
        request: Request,
        trace: _Trace,
        start_us: int,
        sent: float | None,
        status: str,
        end: Answer | RequestFailed | None,
        response: str | None,
        *,
        final: bool,
    ) -> None:
        endpoint, entity = route.endpoint, target.entity if target else None
        latency_ms = None if sent is None else (self._clock() - sent) * 1000
        queue_ms = 0.0 if sent is None else max(0.0, (sent - trace.ready) * 1000)
        trace.ended = trace.ended or final
        usage, status_code, finish_reason, error_class, words = None, None, None, None, None
        model = entity.model if entity else None
        if isinstance(end, Answer):
            usage, status_code, finish_reason, model = end.usage, 200, end.finish_reason, end.model
        elif end is not None:
            status_code, words = end.status, end.reason
            error_class = end.kind if isinstance(end, ProviderError) else getattr(end, "error_code", None)
            billed = getattr(end, "usage", None)
            usage = billed if isinstance(billed, Usage) else None
        cost = target.price.cost_usd(usage) if usage and target and target.price else None
        log = final and endpoint.inference_table is not None
        if final and trace.request_json is None:
            trace.characters = text_characters(request.body)
            if log:
                trace.request_json = orjson.dumps(request.body).decode()
        self.ledger.record(
            Outcome(
                trace.request_id, trace.attempt, request.statement_id, endpoint.name,
                entity.id if entity else None, entity.name if entity else None, entity.provider if entity else None,
                model, request.task, request.caller.user, start_us, status, status_code, error_class, words,
                latency_ms, queue_ms, trace.limit_wait_s * 1000,
                usage.input_tokens if usage else None, usage.output_tokens if usage else None,
                usage.cached_tokens if usage else None, usage.reasoning_tokens if usage else None,
                usage.estimated if usage else False, cost,
                target.price.version if target and target.price else None,
                request.rows, finish_reason, False, trace.fallback_from, final,
                final and endpoint.track_usage, endpoint.inference_table if log else None,
                request.client_request_id, dict(request.caller.usage_context) if request.caller.usage_context else None,
                False, trace.characters,
                len(end.value) if isinstance(end, Answer) and isinstance(end.value, str) else 0,
                trace.request_json if log else None, response if log else None,
            )
        )  # fmt: skip

    def _route(self, name: str) -> _Route:
        endpoint = self.endpoint(name)
        settings = self.config.settings
        own = settings.endpoints.get(name)
        each = self._concurrency(name)
        targets = {
            entity.name: _Target(
                entity,
                adapter_for(entity),
                Gate(each, self._clock, self._sleep),
                RetryQuota(),
                price_of(entity, settings.prices),
            )
            for entity in endpoint.entities
        }
        for target in targets.values():
            target.adapter.prepare()
        return _Route(
            endpoint,
            RateLimiter(endpoint, self._clock, self._sleep),
            Router(endpoint, self._rng),
            targets,
            own.timeout_s if own and own.timeout_s else settings.timeout_s,
        )

    def _concurrency(self, name: str) -> int:
        own = self.config.settings.endpoints.get(name)
        return own.concurrency if own and own.concurrency else self.config.settings.concurrency
