"""The gateway: serves the endpoints of one configuration to engines, servers and Python code.

Its steps are `pipeline`, its endpoints `routes`; it does not know a wire format or an engine.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, NamedTuple

from aiq.answers.store import AnswerStore
from aiq.config.endpoint import Config, Endpoint
from aiq.errors import RequestFailed, StatementError
from aiq.forked import ADVICE
from aiq.gateway.admission import Admission
from aiq.gateway.attempt import Attempts
from aiq.gateway.failover import Failover
from aiq.gateway.image_links import ImageFetcher
from aiq.gateway.pipeline import Pipeline
from aiq.gateway.recording import Recorder
from aiq.gateway.routes import Routes, cost_of_failure
from aiq.gateway.screening import Screening
from aiq.gateway.statements import Statements
from aiq.gateway.trace import NextAttempt
from aiq.ledger.ledger import Ledger
from aiq.ledger.prices import PriceTag
from aiq.ledger.records import Outcome
from aiq.policy.waits import Wait
from aiq.providers.base import Chunk
from aiq.request import Answer, Caller, Request, Task
from aiq.transport import Transport


class EntityState(NamedTuple):
    """A served entity as it is now. `health`: 0 asked as usual, 1 a probe is due or under way, 2 ejected."""

    endpoint: str
    entity: str
    in_flight: int
    health: int


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
        self.ledger, self.answers = ledger, answers
        self._pid = os.getpid()
        self.routes = Routes(
            config,
            ledger,
            transport=transport,
            clock=clock,
            sleep=sleep,
            rng=rng or random.Random(),
            ask_guard=self._ask_guard,
            reload=reload,
        )
        recorder = Recorder(ledger, clock)
        self.pipeline = Pipeline(
            self.routes,
            Admission(recorder, None if reload is None else self.routes.is_superseded),
            Screening(recorder, ImageFetcher()),
            Failover(Attempts(recorder, clock), recorder, clock, sleep),
            recorder,
            clock,
        )

    @property
    def config(self) -> Config:
        """The configuration that new requests are served by."""
        return self.routes.config

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

    def observe(self, observer: Callable[[Outcome], None]) -> None:
        """Tells `observer` of each outcome from now on, on the event loop: it is quick and raises nothing."""
        self.pipeline.recorder.observers.append(observer)

    @property
    def waiting_for_limits(self) -> int:
        """How many requests wait for a rate limit."""
        return self.pipeline.admission.waiting

    def entity_states(self) -> Iterator[EntityState]:
        """How each served entity of the opened endpoints is doing. Any thread."""
        for route in self.routes.opened():
            for target in route.targets.values():
                yield EntityState(route.endpoint.name, target.entity.name, target.gate.in_flight, target.health.state)

    def called(self, endpoint: str, entity: str) -> tuple[str, str] | None:
        """The model that calls of a served entity name, and their URL; None for an entity that is not served now."""
        target = self.routes.target(endpoint, entity)
        return None if target is None else (target.entity.model or "", target.adapter.address)

    def endpoint(self, name: str) -> Endpoint:
        """Raises StatementError, with the nearest name, for an endpoint that is not configured."""
        return self.routes.endpoint(name)

    def concurrency(self, name: str) -> int:
        """Requests the endpoint can have in flight: the sum over its served entities that take traffic."""
        serving = sum(entity.traffic_percentage > 0 for entity in self.endpoint(name).entities)
        return self.routes.concurrency(name) * max(1, serving)

    def prices(self, name: str) -> list[tuple[float, PriceTag | None]]:
        """The share of traffic and the price of each entity of an opened endpoint that takes traffic."""
        return self.routes.prices(name)

    def calls_per_minute(self, name: str, caller: Caller) -> int | None:
        """The lowest rate limit of an opened endpoint that holds for a caller; None where there is none."""
        return self.routes[name].limiter.calls_per_minute(caller)

    def waits(self, name: str) -> list[Wait]:
        """What requests to an opened endpoint wait for: its rate limits, and what its providers let through."""
        route = self.routes[name]
        found = [route.limiter.waits()]
        for target in route.targets.values():
            requests, next_s = target.gate.held_up
            if requests:
                found.append(Wait(requests, f"what {target.entity.provider} lets through to '{name}'", next_s))
        return [wait for wait in found if wait is not None]

    def seconds_for(self, name: str, caller: Caller, requests: int, tokens: float, cost_usd: float) -> float:
        """Seconds that requests of a caller to an opened endpoint take by its rate limits, at so many tokens and US
        dollars each.
        """
        return self.routes[name].limiter.seconds_for(caller, requests, tokens, cost_usd)

    def most_it_costs(self, request: Request) -> float:
        """US dollars that one attempt of a request can cost at the most. Raises BudgetExceeded: see `Routes`."""
        return self.routes.most_it_costs(request)

    def cost_of_failure(self, error: RequestFailed, most_usd: float) -> float:
        """US dollars of a request that failed: those of an answer that was billed and not usable.

        Where it is not known whether the provider did its work, `most_usd`.
        """
        cost = cost_of_failure(error, [target.price for target in self.routes[error.endpoint].targets.values()])
        return most_usd if cost is None else cost

    def open_endpoint(self, name: str) -> Endpoint:
        """Makes an endpoint ready to be asked, credentials included. Any thread but the event loop's, before `answer`.

        Raises StatementError for an unknown name and in a forked process, SecretError for a credential that cannot be
        found, and ConfigError for an unusable proxy or CA file.
        """
        self.check_process()
        return self.routes.open(name).endpoint

    def refresh(self) -> None:
        """Serves new requests by the configuration as it is now. Any thread but the event loop's.

        Raises ConfigError and LedgerError, see `Routes.refresh`, and StatementError in a forked process.
        """
        self.check_process()
        self.routes.refresh()

    def answer(self, request: Request, next_attempt: NextAttempt | None = None) -> Coroutine[Any, Any, Answer]:
        """The answer to one request, after as many attempts as policy allows. Its endpoint was opened before.

        Raises ProviderError or PolicyError where there is none. Every attempt leaves an intent and an outcome, and
        exactly one outcome of a request is final. `next_attempt` is told what a failed attempt cost (US dollars, None
        if unknown) and what is sent next, and waited for, before that is.
        """
        return self.pipeline.answer(request, next_attempt)

    def stream(self, request: Request) -> AsyncGenerator[Chunk, None]:
        """The answer to one request in chunks, as they come; the last has the usage. Its endpoint was opened before.

        Raises ProviderError or PolicyError before the first token, and StreamBroken after it. A reader that stops
        early closes the generator (`aclose`), which ends the call and records it as cancelled.
        """
        return self.pipeline.stream(request)

    @property
    def statements(self) -> Statements:
        """The SQL statements whose requests it answers: told of their start and their end."""
        return self.pipeline.recorder.statements

    def record_hits(
        self, endpoint: str, caller: Caller, statement_id: str, count: int, function: str | None = None
    ) -> None:
        """Requests that were answered from what is kept: each is a row of the ledger that cost nothing. Any thread."""
        self.pipeline.recorder.hits(self.routes[endpoint], caller, statement_id, count, function)

    async def close(self) -> None:
        """Closes the connections. The ledger is closed by its own opener."""
        await self.routes.close()

    async def _ask_guard(self, guarded: Request, name: str, task: Task, body: dict[str, Any]) -> Answer:
        """Asks the endpoint of a guard in the name of the caller who is guarded, who needs no permission for that."""
        request = guarded._replace(
            endpoint=name, task=task, body=body, key=b"", rows=0, client_request_id=None, id=None, entity=None
        )
        return await self.pipeline.answer(request, of_guard=True)
