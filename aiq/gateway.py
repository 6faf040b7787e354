"""The pipeline every request passes, whatever asked it: admit -> route -> call -> retry or fall back -> record.

Runs on one event loop. Knows policy and ledger, but no wire format and no engine.
"""

from __future__ import annotations

import asyncio
import getpass
import math
import os
import random
import threading
import time
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from aiq.admission import Admission
from aiq.attempt import Attempts
from aiq.config.endpoint import Config, Endpoint
from aiq.config.nearest import nearest
from aiq.errors import (
    AiqError,
    BudgetExceeded,
    ConfigError,
    PolicyError,
    RequestFailed,
    StatementError,
)
from aiq.failover import Failover
from aiq.forked import ADVICE
from aiq.image_fetch import ImageFetcher
from aiq.ledger.answers import AnswerStore
from aiq.ledger.ledger import Ledger
from aiq.ledger.prices import PriceTag, price_of
from aiq.ledger.records import Outcome
from aiq.policy.concurrency import Gate
from aiq.policy.context import context_window
from aiq.policy.ejection import Health
from aiq.policy.guardrails.guards import Guards
from aiq.policy.hedging import Latencies
from aiq.policy.limits import RateLimiter, open_book
from aiq.policy.reservation import most_tokens
from aiq.policy.retry import RetryPolicy, RetryQuota
from aiq.policy.routing import Router
from aiq.providers import adapter_for, takes_link
from aiq.providers.base import Chunk, text_characters
from aiq.request import Answer, Caller, Request, Task, new_request_ids
from aiq.route import NextAttempt, Route, Target, Trace, cost_of_failure
from aiq.screening import Screening
from aiq.tokens import AccessToken
from aiq.transport import Transport, open_transport, transport_settings

RELOAD_S = 0.5
"""How long a changed configuration may go unseen by requests."""


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
        reload: Callable[[], Config | None] | None = None,
    ) -> None:
        """`answers` are the kept answers of the home, None to keep none.

        `reload` gives the configuration where it has changed; it is asked before a statement, and by requests every
        half a second.

        `transport` None opens the one of the settings with the first endpoint. `clock` is monotonic, in seconds, and
        `sleep` waits by it.
        """
        self.config, self.ledger, self.answers = config, ledger, answers
        self._transport, self._clock, self._sleep = transport, clock, sleep
        self._rng = rng or random.Random()
        self._attempts = Attempts(ledger, clock)
        self._screening = Screening(self._attempts, ImageFetcher())
        self._failover = Failover(self._attempts, RetryPolicy(config.settings, self._rng), clock, sleep)
        self._book = open_book(config.settings, ledger.home, clock, sleep)
        self._routes: dict[str, Route] = {}
        self._opening = threading.Lock()
        self._pid = os.getpid()
        self._reload, self._reloaded = reload, clock()
        self._earlier: list[Transport] = []
        self._admission = Admission(self._attempts, None if reload is None else self._superseded)

    @property
    def is_inherited(self) -> bool:
        """True in a process that was forked from the one that opened the gateway."""
        return self._pid != os.getpid()

    def check_process(self) -> None:
        """Raises StatementError where the gateway is inherited."""
        if self.is_inherited:
            raise StatementError(
                f"this session or connection belongs to process {self._pid}, which this process was forked from; its "
                f"database, HTTP connections and ledger cannot be used after a fork. {ADVICE}"
            )

    @property
    def waiting_for_limits(self) -> int:
        """How many requests wait for a rate limit."""
        return self._admission.waiting

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

    def calls_per_minute(self, name: str, caller: Caller) -> int | None:
        """The lowest rate limit of an opened endpoint that holds for a caller; None where there is none."""
        return self._routes[name].limiter.calls_per_minute(caller)

    def open_endpoint(self, name: str) -> Endpoint:
        """Makes an endpoint ready to be asked, credentials included. Any thread but the event loop's, before `answer`.

        Raises StatementError for an unknown name and in a forked process, SecretError for a credential that cannot be
        found, and ConfigError for an unusable proxy or CA file.
        """
        self.check_process()
        with self._opening:
            if self._transport is None:
                self._transport = open_transport(self.config.settings)
            self._open(name)
            return self._routes[name].endpoint

    def _open(self, name: str, *, again: bool = False) -> None:
        """Makes the route of an endpoint, after those of the endpoints that its guardrails ask."""
        guardrails = self.endpoint(name).guardrails
        for each in guardrails.endpoints() if guardrails is not None else ():
            if each not in self._routes:
                self._open(each)  # which opens those that its own guards ask
        if again or name not in self._routes:
            self._routes[name] = self._route(name)

    def refresh(self) -> None:
        """Serves new requests by the configuration as it is now. Any thread but the event loop's.

        Endpoints that did not change keep what they have learnt. One that cannot be opened any more (a credential that
        is not found) is served as before, with a warning. Raises LedgerError, and StatementError in a forked process.
        """
        self.check_process()
        config = self._reload() if self._reload is not None else None
        if config is None:
            return
        with self._opening:
            before, self.config = self.config, config
            others = config.settings != before.settings
            if others:
                self._failover = Failover(
                    self._attempts, RetryPolicy(config.settings, self._rng), self._clock, self._sleep
                )
            if self._transport is not None and transport_settings(config.settings) != transport_settings(
                before.settings
            ):
                self._earlier.append(self._transport)
                self._transport = open_transport(config.settings)
            for name in [name for name in self._routes if name in config.endpoints]:
                if self._is_current(name) and not others:
                    continue
                try:
                    self._open(name, again=True)
                except AiqError as error:
                    warnings.warn(f"endpoint '{name}' is served as before: {error}", stacklevel=2)
        self.ledger.sync_entities(config.endpoints.values(), config.settings.user or getpass.getuser())

    def _is_current(self, name: str) -> bool:
        """Whether the route of an endpoint, and of those that its guards ask, is what the configuration says."""
        endpoint = self.config.endpoints[name]
        guards = endpoint.guardrails.endpoints() if endpoint.guardrails is not None else ()
        opened = [self._routes.get(each) for each in (name, *guards)]
        # A secret shows where it is looked up, so a repr is the whole configuration.
        return all(route and repr(route.endpoint) == repr(self.endpoint(route.endpoint.name)) for route in opened)

    async def _refresh_in_time(self) -> None:
        if self._reload is None or self._clock() - self._reloaded <= RELOAD_S:
            return
        self._reloaded = self._clock()
        try:
            await asyncio.to_thread(self.refresh)
        except AiqError as error:
            warnings.warn(f"the changed configuration cannot be used: {error}", stacklevel=2)

    async def _superseded(self, route: Route) -> bool:
        """Whether an endpoint has another route by now, or none."""
        await self._refresh_in_time()
        name = route.endpoint.name
        return name not in self.config.endpoints or self._routes[name] is not route

    def _route_of(self, request: Request) -> Route:
        """Raises PolicyError for an endpoint that is not configured any more."""
        if request.endpoint not in self.config.endpoints:
            raise PolicyError(
                f"Endpoint with name '{request.endpoint}' does not exist any more: it was taken out of "
                f"{self.config.folder}/endpoints while it was being used.",
                endpoint=request.endpoint,
                status=404,
                error_code="RESOURCE_DOES_NOT_EXIST",
            )
        return self._routes[request.endpoint]

    async def answer(self, request: Request, next_attempt: NextAttempt | None = None) -> Answer:
        """The answer to one request, after as many attempts as policy allows. Its endpoint was opened before.

        Raises ProviderError or PolicyError where there is none. Every attempt leaves an intent and an outcome, and
        exactly one outcome of a request is final. `next_attempt` is told what a failed attempt cost (US dollars, None
        where nobody knows) and what is sent next, and waited for, before that is.
        """
        return await self._answer(request, next_attempt)

    async def _answer(
        self, request: Request, next_attempt: NextAttempt | None = None, *, of_guard: bool = False
    ) -> Answer:
        await self._refresh_in_time()
        route = self._route_of(request)
        trace = self._trace(route, request)
        trace.next_attempt = next_attempt
        try:
            while not await self._admission.admit(route, request, trace, of_guard=of_guard):
                route = self._route_of(request)
            if self._screening.wanted(route, request):
                request = await self._screening.screened(route, request, trace, self.config.settings)
            return await self._failover.answer(route, request, trace)
        except asyncio.CancelledError:
            if not trace.ended:  # while it waited: for a limit, a slot or the next attempt
                self._attempts.record(route, request, trace, None, "cancelled", final=True)
            raise
        finally:
            self._admission.settle(route, trace)

    async def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """The answer to one request in chunks, as they come; the last has the usage. Its endpoint was opened before.

        Raises ProviderError or PolicyError before the first token, and StreamBroken after it. Whoever stops reading
        closes the generator (`aclose`), which ends the call and records it as cancelled.
        """
        await self._refresh_in_time()
        route = self._route_of(request)
        if not all(target.adapter.streams(request) for target in route.targets.values()):
            raise PolicyError(
                f"Endpoint '{request.endpoint}' has task {request.task}, whose answers do not come in pieces. Ask for "
                "the whole answer.",
                endpoint=request.endpoint,
                status=400,
                error_code="BAD_REQUEST",
            )
        if route.guards is not None and route.guards.output_active:  # nothing may leave before it was seen whole
            whole = await self.answer(request)
            yield Chunk.whole(whole, request.task)
            yield Chunk.last(whole, request.task)
            return
        trace = self._trace(route, request, streaming=True)
        try:
            while not await self._admission.admit(route, request, trace):
                route = self._route_of(request)
            if self._screening.wanted(route, request):
                request = await self._screening.screened(route, request, trace, self.config.settings)
            async with aclosing(self._failover.stream(route, request, trace)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except (asyncio.CancelledError, GeneratorExit):
            if not trace.ended:
                self._attempts.record(route, request, trace, None, "cancelled", final=True)
            raise
        finally:
            self._admission.settle(route, trace)

    def record_hits(self, endpoint: str, caller: Caller, statement_id: str, count: int) -> None:
        """Requests that were answered from what is kept: each is a row of the ledger that cost nothing. Any thread."""
        route = self._routes[endpoint]
        hit = Outcome(
            "", 0, statement_id, endpoint, None, None, None, None, route.endpoint.task, caller.user,
            time.time_ns() // 1000, "ok", None, None, None, None, 0.0, 0.0, 0, 0, 0, 0, False, 0.0, None, 1, None,
            True, None, True,
        )  # fmt: skip
        self.ledger.record_alike(hit, new_request_ids(count))

    def most_it_costs(self, request: Request) -> float:
        """US dollars that one attempt of a request can cost at the most, at the dearest entity of its endpoint; with
        hedging, two.

        Tokens: aiq/policy/reservation.py. Raises BudgetExceeded where a price is not known, because then nothing can
        be promised.
        """
        most = 0.0
        for target in self._routes[request.endpoint].targets.values():
            if target.unpriced:
                raise BudgetExceeded(
                    f"aiq_max_cost_usd cannot be kept: the price of model '{target.entity.model}' of endpoint "
                    f"'{request.endpoint}' is not known. Set it under prices in conf/aiq.yml."
                )
            if target.price is not None:
                most = max(most, target.price.most_usd(most_tokens(request, target.entity.model)))
        return 2 * most if self._routes[request.endpoint].hedged else most

    def cost_of_failure(self, error: RequestFailed, most_usd: float) -> float:
        """US dollars of a request that failed: those of an answer that was billed and not usable.

        Where nobody knows whether the provider did its work, `most_usd`.
        """
        prices = [target.price for target in self._routes[error.endpoint].targets.values()]
        cost = cost_of_failure(error, prices)
        return most_usd if cost is None else cost

    async def close(self) -> None:
        """Closes the connections. The ledger belongs to whoever opened it."""
        await self._book.close()
        for transport in (*self._earlier, self._transport):
            if transport is not None:
                await transport.close()

    def _trace(self, route: Route, request: Request, *, streaming: bool = False) -> Trace:
        trace = Trace(self._clock(), streaming=streaming)
        if route.guards is not None and route.guards.input_active:  # until it was checked, nothing of it is logged
            trace.request_json, trace.characters = "", text_characters(request.body)
        return trace

    async def _ask_guard(self, guarded: Request, name: str, task: Task, body: dict[str, Any]) -> Answer:
        """Asks the endpoint of a guard: in the name of whoever is guarded, who needs no permission for that."""
        request = guarded._replace(endpoint=name, task=task, body=body, key=b"", rows=0, client_request_id=None)
        return await self._answer(request, of_guard=True)

    def _route(self, name: str) -> Route:
        endpoint = self.endpoint(name)
        settings = self.config.settings
        own = settings.endpoints.get(name)
        each = self._concurrency(name)
        targets: dict[str, Target] = {}
        for entity in endpoint.entities:
            adapter = adapter_for(entity)
            adapter.prepare()
            targets[entity.name] = Target(
                entity,
                adapter,
                Gate(each, self._clock, self._sleep),
                RetryQuota(),
                price_of(entity, settings.prices),
                Health(self._clock),
                Latencies(),
                None if adapter.token_request() is None else AccessToken(adapter, self._clock),
            )
        if any(limit.unit == "cost_usd" for limit in endpoint.aiq_rate_limits):
            for target in (target for target in targets.values() if target.unpriced):
                raise ConfigError(
                    f"endpoint '{name}' has a limit in US dollars, and the price of its model '{target.entity.model}' "
                    "is not known. Set it under prices in conf/aiq.yml.",
                    file=endpoint.file or None,
                )
        assert self._transport is not None
        failover = endpoint.failover
        healths = {name: target.health for name, target in targets.items()}
        windows = {entity.name: context_window(entity) for entity in endpoint.entities}
        guards = None
        if endpoint.guardrails is not None:
            tasks = {each: self.endpoint(each).task for each in endpoint.guardrails.endpoints()}
            guards = Guards(endpoint.guardrails, self._ask_guard, tasks)
            guards.prepare()
        return Route(
            endpoint,
            RateLimiter(endpoint, self._clock, self._sleep, book=self._book, most_usd=self.most_it_costs),
            Router(endpoint, self._rng, healths, windows),
            targets,
            self._transport,
            own.timeout_s if own and own.timeout_s else settings.timeout_s,
            failover.first_token_timeout_s or math.inf,
            failover.idle_timeout_s or math.inf,
            # With hedging too: the connection of a stream can be closed, that of a whole answer stays until timeout_s.
            streamed=failover.hedging or bool(failover.first_token_timeout_s or failover.idle_timeout_s),
            hedged=failover.hedging,
            guards=guards,
            takes_link=takes_link(endpoint.entities),
        )

    def _concurrency(self, name: str) -> int:
        own = self.config.settings.endpoints.get(name)
        return own.concurrency if own and own.concurrency else self.config.settings.concurrency
