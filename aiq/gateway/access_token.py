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


class AccessToken:
    """The token of one served entity."""

    __slots__ = ("_adapter", "_at", "_clock", "_due", "_life_s", "_renewing", "_source", "number")

    def __init__(self, adapter: Adapter, clock: Callable[[], float], source: Source | None = None) -> None:
        """`clock` is monotonic, in seconds. `source` gives the credential where the adapter does not ask for one."""
        self._adapter, self._clock, self._source = adapter, clock, source
        self._at = self._due = -math.inf
        self._life_s = 0.0
        self.number = 0
        """How many tokens there have been: the number of the one that is in use."""
        self._renewing: asyncio.Task[None] | None = None

    @property
    def due(self) -> bool:
        """Whether a token has to be got before the next call."""
        return self._clock() >= self._due

    async def renew(self, transport: Transport) -> None:
        """Gets a token, or waits for the one that is being got. Raises ProviderError."""
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
        self._due = -math.inf
        return True

    async def _renew(self, transport: Transport) -> None:
        asked = self._clock()
        if self._source is not None:
            valid_s = await self._found(self._source)
        else:
            request = self._adapter.token_request()
            assert request is not None
            try:
                valid_s = self._adapter.take_token(await transport.send(request, TOKEN_TIMEOUT_S))
            except ProviderError as error:
                error.reason = f"no access token was granted: {error.reason}"
                raise
        self._at, self._life_s = asked, valid_s
        self.number += 1
        self._due = asked + max(valid_s - RENEW_AHEAD_S, valid_s / 2)

    async def _found(self, source: Source) -> float:
        """Asks a cloud's SDK, in a thread: it blocks."""
        try:
            grant = await asyncio.wait_for(asyncio.to_thread(source), TOKEN_TIMEOUT_S)
        except TimeoutError:
            words = f"no credentials were found within {TOKEN_TIMEOUT_S:g} s"
            raise ProviderError(words, kind="timeout", status=504) from None
        self._adapter.take_grant(grant)
        return grant.valid_s

    def _renewed(self, task: asyncio.Task[None]) -> None:
        self._renewing = None
        if not task.cancelled():
            task.exception()  # raised where it is awaited
