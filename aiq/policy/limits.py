"""How many calls a minute are allowed, exactly, over every rolling minute. Must never know a wire format.

A window is the list of the grants of the last 60 seconds, so that no minute, wherever it starts, holds more than the
limit, and the wait for the next grant is exact. Source of the rules: Databricks AI Gateway rate limits (reference:
endpoint limit is global; a user's own limit replaces the default user limit; all that apply must grant).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

from aiq.config.endpoint import Endpoint, RateLimit
from aiq.errors import PolicyError
from aiq.request import Request

WINDOW_S = 60.0


class Window:
    """At most `calls` grants in any 60 seconds."""

    __slots__ = ("_grants", "calls")

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self._grants: deque[float] = deque()

    def wait_s(self, now: float) -> float:
        """Seconds until the next grant is possible; 0.0 when it is now, infinity when it never is."""
        if not self.calls:
            return math.inf
        grants, horizon = self._grants, now - WINDOW_S
        while grants and grants[0] <= horizon:
            grants.popleft()
        if len(grants) < self.calls:
            return 0.0
        return grants[-self.calls] + WINDOW_S - now

    def grant(self, now: float) -> None:
        self._grants.append(now)


class RateLimiter:
    """The windows of one endpoint. Acquire is all-or-nothing over every window that applies to the requester."""

    def __init__(
        self,
        endpoint: Endpoint,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`clock` is monotonic, in seconds."""
        self._endpoint, self._clock, self._sleep = endpoint, clock, sleep
        self._shared = [Window(limit.calls) for limit in endpoint.rate_limits if limit.key == "endpoint"]
        self._user_default = _find(endpoint.rate_limits, None)
        self._users: dict[str, Window | None] = {}
        self._turn = asyncio.Lock()
        self._turns: dict[str, asyncio.Lock] = {}
        self._waiting = 0
        self.limited = bool(endpoint.rate_limits)

    def windows(self, user: str) -> list[tuple[Window, str]]:
        """The windows that apply to a user, each with the words that end the 429 message."""
        if user not in self._users:
            limit = _find(self._endpoint.rate_limits, user) or self._user_default
            self._users[user] = Window(limit.calls) if limit else None
        own = self._users[user]
        found = [(window, "") for window in self._shared]
        if own is not None:
            found.append((own, " for user"))
        return found

    def try_acquire(self, user: str) -> float:
        """0.0 and every window charged, or the seconds to wait and none charged."""
        now = self._clock()
        windows = self.windows(user)
        wait = max((window.wait_s(now) for window, _ in windows), default=0.0)
        if wait <= 0.0:
            for window, _ in windows:
                window.grant(now)
        return max(wait, 0.0)

    async def acquire(self, request: Request) -> float:
        """Waits for the request's turn, first come first served. Returns the seconds it waited.

        Those of one user queue among themselves first, so that a user over his own limit holds up nobody else.
        Raises PolicyError: 403 where the limit is 0 calls, 429 where the deadline comes before the turn.
        """
        user = request.caller.user
        for window, words in self.windows(user):
            if window.calls == 0:
                raise self._refused(words, status=403, retry_after_s=None)
        if not self._waiting and self.try_acquire(user) == 0.0:
            return 0.0
        started = self._clock()
        self._waiting += 1
        try:
            own = self._users[user]
            if own is None:
                await self._charge(request)
            else:
                async with self._turns.setdefault(user, asyncio.Lock()):
                    while wait := own.wait_s(self._clock()):
                        await self._wait(request, wait)
                    await self._charge(request)
        finally:
            self._waiting -= 1
        return self._clock() - started

    async def _charge(self, request: Request) -> None:
        async with self._turn:
            while wait := self.try_acquire(request.caller.user):
                await self._wait(request, wait)

    async def _wait(self, request: Request, wait: float) -> None:
        now = self._clock()
        if request.deadline_s is not None and now + wait > request.deadline_s:
            # Whichever window is the last to grant says how long, and ends the message.
            wait, words = max((window.wait_s(now), words) for window, words in self.windows(request.caller.user))
            raise self._refused(words, status=429, retry_after_s=wait)
        await self._sleep(wait)

    def _refused(self, words: str, *, status: int, retry_after_s: float | None) -> PolicyError:
        name = self._endpoint.name
        if status == 403:
            message = f"Calls to '{name}' are blocked{words}: a rate limit of 0 calls is set for it."
        else:
            message = (
                f"User defined rate limit(s) exceeded for '{name}'. Requests-per-minute (RPM) rate limit "
                f"exceeded{words}"
            )
        code = "PERMISSION_DENIED" if status == 403 else "REQUEST_LIMIT_EXCEEDED"
        return PolicyError(message, endpoint=name, status=status, error_code=code, retry_after_s=retry_after_s)


def _find(limits: Iterable[RateLimit] | Sequence[RateLimit], user: str | None) -> RateLimit | None:
    return next((limit for limit in limits if limit.key == "user" and limit.principal == user), None)
