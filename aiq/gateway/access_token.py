"""Access tokens: got before the first call, renewed before they expire, once for all requests that wait.

Runs on one event loop. Knows when a token is due; what is asked and what it says is the adapter's, or of a cloud's SDK.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from aiq.errors import ProviderError
from aiq.providers import Adapter
from aiq.transport import Transport
from aiq.transport.credentials import Source

RENEW_AHEAD_S = 300.0
"""So long before its end a token is renewed, or at half of its life where that is shorter."""
TOKEN_TIMEOUT_S = 30.0
MIN_AGE_S = 10.0
"""A token that is refused has been withdrawn or has run out, and is asked for again, unless it is younger than this and
than half of its life."""
AGAIN_S = 10.0
"""After so long a renewal that failed is tried again, while the token that is there is still good."""
DENIED_S = 5.0
"""So long what a cloud's SDK was denied is denied to other requests too, of which each would ask again."""


class AccessToken:
    """The token of one served entity."""

    __slots__ = ("_adapter", "_at", "_clock", "_denied", "_due", "_ends", "_life_s", "_renewing", "_source", "number")

    def __init__(self, adapter: Adapter, clock: Callable[[], float], source: Source | None = None) -> None:
        """`clock` is monotonic, in seconds. `source` gives the credential where the adapter does not ask for one."""
        self._adapter, self._clock, self._source = adapter, clock, source
        self._at = self._due = self._ends = -math.inf
        self._life_s = 0.0
        self.number = 0
        """How many tokens there have been: the number of the one that is in use."""
        self._renewing: asyncio.Task[None] | None = None
        self._denied: tuple[float, ProviderError] | None = None

    @property
    def due(self) -> bool:
        """Whether a token has to be got before the next call."""
        return self._clock() >= self._due

    async def renew(self, transport: Transport) -> None:
        """Gets a token, or waits for the one that is being got. Raises ProviderError where none is good."""
        if self._denied is not None and self._clock() - self._denied[0] < DENIED_S:
            denied = self._denied[1]
            raise ProviderError(denied.reason, kind=denied.kind, status=denied.status)
        if self._renewing is None:
            self._renewing = asyncio.ensure_future(self._renew(transport))
            self._renewing.add_done_callback(self._renewed)
        await asyncio.shield(self._renewing)

    def refused(self, number: int) -> bool:
        """The provider does not take the token of a number: whether another one may help, which is due or there."""
        if number != self.number:
            return True  # it ran out on the way, and another one has been got meanwhile
        if self._clock() - self._at < min(MIN_AGE_S, self._life_s / 2):
            return False
        self._due = self._ends = -math.inf
        return True

    async def _renew(self, transport: Transport) -> None:
        asked = self._clock()
        try:
            valid_s = await (self._requested(transport) if self._source is None else self._found(self._source))
        except ProviderError as error:
            if self._clock() < self._ends - AGAIN_S:
                self._due = self._clock() + AGAIN_S
                return
            if self._source is not None and error.kind == "auth":
                self._denied = (self._clock(), error)
            raise
        self._at, self._life_s, self._ends, self._denied = asked, valid_s, asked + valid_s, None
        self.number += 1
        self._due = asked + max(valid_s - RENEW_AHEAD_S, valid_s / 2)

    async def _requested(self, transport: Transport) -> float:
        """Asks a token server, as the adapter says."""
        request = self._adapter.token_request()
        assert request is not None
        try:
            return self._adapter.take_token(await transport.send(request, TOKEN_TIMEOUT_S))
        except ProviderError as error:
            error.reason = f"no access token was granted: {error.reason}"
            raise

    async def _found(self, source: Source) -> float:
        """Asks a cloud's SDK, in a thread: it blocks."""
        try:
            token = await asyncio.wait_for(asyncio.to_thread(source), TOKEN_TIMEOUT_S)
        except TimeoutError:
            words = f"no credentials were found within {TOKEN_TIMEOUT_S:g} s"
            raise ProviderError(words, kind="timeout", status=504) from None
        self._adapter.take_cloud_token(token)
        return token.valid_s

    def _renewed(self, task: asyncio.Task[None]) -> None:
        self._renewing = None
        if not task.cancelled():
            task.exception()  # raised where it is awaited
