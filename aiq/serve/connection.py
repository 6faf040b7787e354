"""One connection of a client: uvicorn's, with bounds on how long and how large a request's head may be.

What cannot be read as HTTP is answered as JSON too. It knows no path and no token.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 30.0
"""How long the head of a request may take, from its first byte to its last, or from the connection to the first."""
MAX_HEAD = 64 * 1024
"""Bytes of a request's head."""


_ENOUGH_BYTES = 64 * 1024


class Outgoing:
    """A transport that sends in one piece what is written in one turn of the loop.

    uvloop sends each write at once, and a reply's head and its body, or the tokens that came together, are several.
    It has what uvicorn asks of a transport, and no more.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._pieces: list[bytes] = []
        self._bytes = 0
        self.is_closing, self.get_extra_info = transport.is_closing, transport.get_extra_info
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading
        self.set_protocol = transport.set_protocol

    def write(self, data: bytes) -> None:
        """Sends it with this turn of the loop, or now where it is much."""
        if not self._pieces:
            self._loop.call_soon(self._send)
        self._pieces.append(data)
        self._bytes += len(data)
        if self._bytes > _ENOUGH_BYTES:
            self._send()

    def close(self) -> None:
        """Closes it when all that was written is sent."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._pieces and not self._transport.is_closing():
            self._transport.write(b"".join(self._pieces))
        self._pieces, self._bytes = [], 0


class Connection(HttpToolsProtocol):
    """Reads the requests of one client."""

    def __init__(self, *values: Any, **named: Any) -> None:
        super().__init__(*values, **named)
        self._late: asyncio.TimerHandle | None = None
        self._in_body = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(Outgoing(transport, self.loop))  # type: ignore[arg-type]
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_body or self.transport.is_closing():
            return
        if self._head_bytes > MAX_HEAD:
            self._refuse(431, f"the head of the request is larger than {MAX_HEAD >> 10} KiB")
        elif self._head_bytes and self._late is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body, self._head_bytes = False, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "this is not an HTTP request")

    def _wait_for_head(self) -> None:
        self._late = self.loop.call_later(HEAD_S, self._refuse, 408, f"no request came within {HEAD_S:g} s")

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self, status: int, message: str) -> None:
        """Says what is wrong, and closes the connection: what follows cannot be read."""
        self._stop_waiting()
        body = orjson.dumps({"error_code": "BAD_REQUEST", "message": message})
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
