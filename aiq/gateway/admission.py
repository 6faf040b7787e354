"""Admits requests: permission first, then the turn of each under every rate limit of its endpoint.

Knows routes and what the ledger notes; it does not know which entity is asked, or what the request says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiq.config.endpoint import Endpoint
from aiq.errors import PolicyError
from aiq.gateway.recording import Recorder
from aiq.gateway.routes import Route
from aiq.gateway.trace import NOTHING, Trace
from aiq.policy.limits import Grant
from aiq.request import Caller, Request

LOOK_S = 0.5
"""How often a request that waits looks whether the limits it waits for still hold."""


class Admission:
    """Admits the requests of one gateway. On its event loop."""

    def __init__(self, recorder: Recorder, superseded: Callable[[Route], Awaitable[bool]] | None) -> None:
        """`superseded` says whether an endpoint has another route by now; None where routes never change."""
        self._recorder, self._superseded = recorder, superseded
        self.waiting = 0

    async def admit(self, route: Route, request: Request, trace: Trace, *, of_guard: bool = False) -> bool:
        """Waits for the request's turn; its grant is the trace's. False where the route is another one meanwhile.

        Raises PolicyError, with a row in the ledger. A request of a guard needs no permission.
        """
        try:
            if not of_guard and not route.endpoint.may_query(request.caller):
                raise _forbidden(route.endpoint, request.caller)
            if request.entity is not None and request.entity not in route.targets:
                raise _no_entity(route.endpoint, request.entity)
            if route.limiter.limited:
                grant = route.limiter.try_acquire(request)
                if grant is None:
                    self.waiting += 1
                    try:
                        grant = await self._granted(route, request)
                    finally:
                        self.waiting -= 1
                if grant is None:
                    return False
                trace.grant, trace.limit_wait_s, trace.limited_by = grant, grant.waited_s, grant.limit
        except PolicyError as error:
            trace.limited_by = error.limit
            self._recorder.refused(route, request, trace, error)
            raise
        return True

    async def _granted(self, route: Route, request: Request) -> Grant | None:
        """The grant, when its turn has come; None where the limits have changed before that."""
        if self._superseded is None:
            return await route.limiter.acquire(request)
        waiting = asyncio.ensure_future(route.limiter.acquire(request))
        try:
            while not (await asyncio.wait({waiting}, timeout=LOOK_S))[0]:
                if await self._superseded(route):
                    break
            else:
                return waiting.result()
        except asyncio.CancelledError:
            await self._given_up(route, waiting)
            raise
        await self._given_up(route, waiting)
        return None

    @staticmethod
    async def _given_up(route: Route, waiting: asyncio.Future[Grant]) -> None:
        """Leaves the line; what was granted in this very moment goes back."""
        waiting.cancel()
        (end,) = await asyncio.gather(waiting, return_exceptions=True)
        if isinstance(end, Grant):
            route.limiter.release(end)

    @staticmethod
    def settle(route: Route, trace: Trace) -> None:
        """Corrects what the limits were charged for a request to what it used, on every way out."""
        if trace.grant is None:
            return
        if not trace.attempt:
            route.limiter.release(trace.grant)
        elif trace.unknown and trace.billed == NOTHING:
            route.limiter.settle(trace.grant, None, None)
        else:
            route.limiter.settle(trace.grant, trace.billed, trace.billed_usd, keep=trace.unknown)


def _no_entity(endpoint: Endpoint, entity: str) -> PolicyError:
    known = ", ".join(f"'{each.name}'" for each in endpoint.entities)
    return PolicyError(
        f"Endpoint '{endpoint.name}' has no served entity '{entity[:100]}'. It has {known}.",
        endpoint=endpoint.name,
        status=404,
        error_code="RESOURCE_DOES_NOT_EXIST",
    )


def _forbidden(endpoint: Endpoint, caller: Caller) -> PolicyError:
    return PolicyError(
        f"User '{caller.user}' does not have CAN_QUERY on endpoint '{endpoint.name}'. Grant it under permissions in "
        f"{endpoint.file}, or connect as another user.",
        endpoint=endpoint.name,
        status=403,
        error_code="PERMISSION_DENIED",
    )
