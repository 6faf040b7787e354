"""The routes of a gateway: what it takes to serve each endpoint. Opened once, and again when its configuration changes.

Knows the configuration, policy's parts and prices; it does not know what is asked or answered.
"""

from __future__ import annotations

import asyncio
import getpass
import math
import random
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from aiq.config.endpoint import Config, Endpoint, ServedEntity, Settings
from aiq.config.local import absence
from aiq.config.nearest import nearest
from aiq.config.secret_hosts import check_hosts
from aiq.config.secrets import PLAINTEXT
from aiq.config.tls import TlsConfig
from aiq.errors import AiqError, BudgetExceeded, ConfigError, PolicyError, ProviderError, RequestFailed, StatementError
from aiq.gateway.access_token import AccessToken
from aiq.ledger.ledger import Ledger
from aiq.ledger.prices import PriceTag, price_of
from aiq.policy.breaker import Breaker
from aiq.policy.concurrency import Gate
from aiq.policy.context import context_window
from aiq.policy.ejection import Health
from aiq.policy.guardrails.guards import Ask, Guards
from aiq.policy.hedging import Latencies
from aiq.policy.limits import RateLimiter, open_book
from aiq.policy.reservation import most_tokens
from aiq.policy.retry import RetryPolicy, RetryQuota
from aiq.policy.routing import Router
from aiq.providers import Adapter, HttpRequest, adapter_for, takes_link
from aiq.request import Request, Usage
from aiq.transport import Transport, open_transport, transport_settings
from aiq.transport.credentials import open_source

RELOAD_S = 0.5
"""How long requests may be served by a configuration that has changed."""
MAY_BE_BILLED = frozenset({"timeout", "bad_answer"})
"""Failures that do not say whether the provider did its work."""


class Target(NamedTuple):
    """A served entity with what is needed to call it."""

    entity: ServedEntity
    adapter: Adapter
    gate: Gate
    quota: RetryQuota
    price: PriceTag | None
    health: Health
    breaker: Breaker
    latencies: Latencies
    token: AccessToken | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """What the configuration adds to each request."""

    def encode(self, request: Request, *, stream: bool = False) -> HttpRequest:
        """The request as it goes over the wire, with the entity's own headers."""
        wire = self.adapter.encode(request, stream=stream)
        if not self.headers:
            return wire
        names = {name for name, _ in self.headers}
        kept = [header for header in wire.headers if header[0].lower() not in names]
        return wire._replace(headers=[*kept, *self.headers])

    @property
    def unpriced(self) -> bool:
        """Whether its calls cost an amount that is not known. A model server of one's own costs nothing."""
        return self.price is None and self.entity.provider != "model-server"


class Connections:
    """A transport, with how many requests use it: one that was replaced is closed after the last of them."""

    __slots__ = ("_left", "_own", "_settings", "requests", "transport")

    def __init__(self, transport: Transport, settings: Settings) -> None:
        self.transport, self.requests, self._settings = transport, 0, settings
        self._own: dict[TlsConfig, tuple[tuple[int, ...], Transport]] = {}
        self._left: list[Transport] = []
        """Those of files that have been written anew: a request may still use one."""

    def of(self, tls: TlsConfig | None) -> Transport:
        """The transport of an entity: one of its own where it has TLS settings, anew when their files are.

        Raises ConfigError for files that cannot be used.
        """
        if tls is None:
            return self.transport
        stamp, found = tls.stamp(), self._own.get(tls)
        if found is None or found[0] != stamp:
            try:
                fresh = (stamp, open_transport(self._settings, tls))
            except ConfigError:
                if found is None:
                    raise
                return found[1]  # of certificate and key, one has been written anew and the other not yet
            if found is not None:
                self._left.append(found[1])
            found = self._own[tls] = fresh
        return found[1]

    async def close(self) -> None:
        """Closes all of them."""
        for transport in (self.transport, *self._left, *(own for _, own in self._own.values())):
            await transport.close()


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """An endpoint with what is needed to serve it. Times in seconds, infinite where there is no limit.

    `streamed`: whole answers are asked for as streams too, so that silence is noticed. `takes_link`: whether all
    targets take a link to an image as it is; None: they take any.
    """

    endpoint: Endpoint
    settings: Settings
    limiter: RateLimiter
    router: Router
    retry: RetryPolicy
    targets: dict[str, Target]
    connections: Connections
    timeout_s: float
    first_token_s: float
    idle_s: float
    streamed: bool
    hedged: bool
    guards: Guards | None
    takes_link: Callable[[str], bool] | None = None


class Routes:
    """The opened endpoints of one gateway, by name."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        *,
        transport: Transport | None,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
        rng: random.Random,
        ask_guard: Ask,
        reload: Callable[[], Config | None] | None,
    ) -> None:
        """`transport` None opens the one of the settings with the first endpoint. `ask_guard` asks a guard's endpoint.

        `reload` gives the configuration if it has changed, else None. `clock` is monotonic, in seconds.
        """
        self.config = config
        self._ledger, self._clock, self._sleep, self._rng = ledger, clock, sleep, rng
        self._ask_guard, self._reload, self._reloaded = ask_guard, reload, clock()
        self._connections = None if transport is None else Connections(transport, config.settings)
        self._replaced: list[Connections] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._book = open_book(config.settings, ledger.home, clock, sleep)
        self._routes: dict[str, Route] = {}
        self._opening = threading.Lock()

    def __getitem__(self, name: str) -> Route:
        """The route of an opened endpoint."""
        return self._routes[name]

    def opened(self) -> list[Route]:
        """The routes of the endpoints that are open now. Any thread."""
        return list(self._routes.copy().values())

    def target(self, name: str, entity: str) -> Target | None:
        """What calls of an entity go to now; None where it has no such entity, or is not open."""
        route = self._routes.get(name)
        return None if route is None else route.targets.get(entity)

    @property
    def transport(self) -> Transport | None:
        """The transport of new requests; None before the first endpoint is opened."""
        return None if self._connections is None else self._connections.transport

    def endpoint(self, name: str) -> Endpoint:
        """Raises StatementError, with the nearest name, for an endpoint that is not configured."""
        found = self.config.endpoints.get(name)
        if found is None:
            if why := absence(name):
                raise StatementError(f"Endpoint with name '{name}' does not exist.{why}")
            known = ", ".join(sorted(self.config.endpoints)) or "none. `aiq init` writes files to start with"
            raise StatementError(
                f"Endpoint with name '{name}' does not exist.{nearest(name, self.config.endpoints)} "
                f"Configured in {self.config.folder}/endpoints: {known}."
            )
        return found

    def concurrency(self, name: str) -> int:
        """Requests that one served entity of an endpoint can have in flight."""
        own = self.config.settings.endpoints.get(name)
        return own.concurrency if own and own.concurrency else self.config.settings.concurrency

    def open(self, name: str) -> Route:
        """The route of an endpoint, credentials included. Any thread but the event loop's.

        Raises StatementError for an unknown name, SecretError for a credential that cannot be found, and ConfigError
        for an unusable proxy or CA file.
        """
        with self._opening:
            if self._connections is None:
                self._connections = Connections(open_transport(self.config.settings), self.config.settings)
            self._open(name, self._connections)
            return self._routes[name]

    def refresh(self) -> None:
        """Serves new requests by the configuration as it is now. Any thread but the event loop's.

        Endpoints that did not change keep what they have learnt. One that cannot be opened any more (a credential that
        is not found) is served as before, with a warning. Raises ConfigError, after which nothing has changed, and
        LedgerError.
        """
        config = self._reload() if self._reload is not None else None
        if config is None:
            return
        with self._opening:
            before = self.config.settings
            connections = self._connections
            if connections is not None and transport_settings(config.settings) != transport_settings(before):
                self._connections = Connections(open_transport(config.settings), config.settings)
                self._replaced.append(connections)
            self.config = config
            if self._connections is not None:
                for name in [name for name in self._routes if name in config.endpoints]:
                    try:
                        if not self._is_current(name):
                            self._open(name, self._connections, again=True)
                    except AiqError as error:
                        warnings.warn(f"endpoint '{name}' is served as before: {error}", stacklevel=2)
        self._ledger.sync_entities(config.endpoints.values(), config.settings.user or getpass.getuser())

    @property
    def may_be_outdated(self) -> bool:
        """Whether it is time to look for a changed configuration."""
        return self._reload is not None and self._clock() - self._reloaded > RELOAD_S

    async def refresh_from_loop(self) -> None:
        """As `refresh`, on the event loop. A configuration that cannot be used is warned of."""
        self._reloaded = self._clock()
        try:
            await asyncio.to_thread(self.refresh)
        except AiqError as error:
            warnings.warn(f"the changed configuration cannot be used: {error}", stacklevel=2)

    async def is_superseded(self, route: Route) -> bool:
        """Whether an endpoint has another route by now, or none."""
        if self.may_be_outdated:
            await self.refresh_from_loop()
        name = route.endpoint.name
        return name not in self.config.endpoints or self._routes[name] is not route

    def serving(self, name: str) -> Route:
        """The route of new requests. Raises PolicyError for an endpoint that is not configured any more."""
        if name not in self.config.endpoints:
            raise PolicyError(
                f"Endpoint with name '{name}' does not exist any more: it was taken out of "
                f"{self.config.folder}/endpoints while it was being used.",
                endpoint=name,
                status=404,
                error_code="RESOURCE_DOES_NOT_EXIST",
            )
        return self._routes[name]

    def enter(self, name: str) -> Route:
        """As `serving`, for a request that begins; `leave` ends what it begins. On the event loop."""
        route = self.serving(name)
        route.connections.requests += 1
        return route

    def leave(self, route: Route) -> None:
        """Ends what `enter` began. On the event loop."""
        route.connections.requests -= 1
        if self._replaced:
            self._close_replaced()

    def prices(self, name: str) -> list[tuple[float, PriceTag | None]]:
        """The share of traffic and the price of each entity of an opened endpoint that takes traffic."""
        targets = [target for target in self._routes[name].targets.values() if target.entity.traffic_percentage > 0]
        return [(target.entity.traffic_percentage / 100, target.price) for target in targets]

    def most_it_costs(self, request: Request) -> float:
        """US dollars that one attempt of a request can cost at the most, at the most expensive entity of its endpoint;
        with hedging, two.

        Tokens: aiq/policy/reservation.py. Raises BudgetExceeded where a price is not known, because then nothing can
        be promised.
        """
        most, route = 0.0, self._routes[request.endpoint]
        for target in route.targets.values():
            if target.unpriced:
                raise BudgetExceeded(
                    f"aiq_max_cost_usd cannot be kept: the price of model '{target.entity.model}' of endpoint "
                    f"'{request.endpoint}' is not known. Set it under prices in conf/aiq.yml."
                )
            if target.price is not None:
                most = max(most, target.price.most_usd(most_tokens(request, target.entity.model)))
        return 2 * most if route.hedged else most

    async def close(self) -> None:
        """Closes the connections and the store of limits."""
        await self._book.close()
        await asyncio.gather(*self._closing)
        for connections in (*self._replaced, self._connections):
            if connections is not None:
                await connections.close()

    def _close_replaced(self) -> None:
        """Closes the replaced transports that no request uses, and no route of a configured endpoint."""
        used = {id(route.connections) for name, route in list(self._routes.items()) if name in self.config.endpoints}
        for connections in list(self._replaced):
            if not connections.requests and id(connections) not in used:
                self._replaced.remove(connections)
                task = asyncio.get_running_loop().create_task(connections.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    def _is_current(self, name: str) -> bool:
        """Whether the route of an endpoint, and of those that its guards ask, is what the configuration says."""
        opened = [self._routes.get(each) for each in (name, *_guard_endpoints(self.endpoint(name)))]
        return all(
            route is not None
            and route.connections is self._connections
            and route.settings == self.config.settings
            and route.endpoint == self.endpoint(route.endpoint.name)
            for route in opened
        )

    def _open(self, name: str, connections: Connections, *, again: bool = False) -> None:
        """Makes the route of an endpoint, after those of the endpoints that its guardrails ask."""
        for each in _guard_endpoints(self.endpoint(name)):
            if each not in self._routes:
                self._open(each, connections)  # which opens those that its own guards ask
        if again or name not in self._routes:
            self._routes[name] = self._route(name, connections)

    def _route(self, name: str, connections: Connections) -> Route:
        endpoint, settings = self.endpoint(name), self.config.settings
        own = settings.endpoints.get(name)
        for entity in endpoint.entities:
            connections.of(entity.tls)
        targets = {entity.name: self._target(entity, self.concurrency(name)) for entity in endpoint.entities}
        if any(limit.unit == "cost_usd" for limit in endpoint.aiq_rate_limits):
            for target in (target for target in targets.values() if target.unpriced):
                raise ConfigError(
                    f"endpoint '{name}' has a limit in US dollars, and the price of its model '{target.entity.model}' "
                    "is not known. Set it under prices in conf/aiq.yml.",
                    file=endpoint.file or None,
                )
        failover = endpoint.failover
        healths = {name: target.health for name, target in targets.items()}
        windows = {entity.name: context_window(entity) for entity in endpoint.entities}
        return Route(
            endpoint,
            settings,
            RateLimiter(endpoint, self._clock, self._sleep, book=self._book, most_usd=self.most_it_costs),
            Router(endpoint, self._rng, healths, windows),
            RetryPolicy(settings, self._rng),
            targets,
            connections,
            own.timeout_s if own and own.timeout_s else settings.timeout_s,
            failover.first_token_timeout_s or math.inf,
            failover.idle_timeout_s or math.inf,
            # With hedging too: the connection of a stream can be closed, that of a whole answer stays until timeout_s.
            streamed=failover.hedging or bool(failover.first_token_timeout_s or failover.idle_timeout_s),
            hedged=failover.hedging,
            guards=self._guards(endpoint),
            takes_link=takes_link(endpoint.entities),
        )

    def _target(self, entity: ServedEntity, concurrency: int) -> Target:
        adapter = adapter_for(entity)
        check_hosts(entity, adapter.address, self.config.settings)
        source = open_source(entity)
        adapter.prepare()
        headers = tuple((name, secret.reveal()) for name, secret in entity.headers)
        adapter.hide(*(secret.reveal() for _, secret in entity.headers if secret.source != PLAINTEXT))
        has_token = source is not None or adapter.token_request() is not None
        return Target(
            entity,
            adapter,
            Gate(concurrency, self._clock, self._sleep),
            RetryQuota(),
            price_of(entity, self.config.settings.prices),
            Health(self._clock),
            Breaker(self.config.settings.retries, self._clock, self._sleep),
            Latencies(),
            AccessToken(adapter, self._clock, source) if has_token else None,
            headers,
        )

    def _guards(self, endpoint: Endpoint) -> Guards | None:
        if endpoint.guardrails is None:
            return None
        tasks = {each: self.endpoint(each).task for each in endpoint.guardrails.endpoints()}
        guards = Guards(endpoint.guardrails, self._ask_guard, tasks)
        guards.prepare()
        return guards


def cost_of_failure(error: RequestFailed, prices: Iterable[PriceTag | None]) -> float | None:
    """US dollars of an attempt that failed, at the highest of `prices`; None where it may have been billed or not."""
    usage = getattr(error, "usage", None)
    if isinstance(usage, Usage):
        costs = [price.cost_usd(usage) for price in prices if price is not None]
        known = [cost for cost in costs if cost is not None]
        return None if len(known) < len(costs) else max(known, default=0.0)
    return None if isinstance(error, ProviderError) and error.kind in MAY_BE_BILLED else 0.0


def _guard_endpoints(endpoint: Endpoint) -> tuple[str, ...]:
    return () if endpoint.guardrails is None else endpoint.guardrails.endpoints()
