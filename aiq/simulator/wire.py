"""HTTP/1.1 on an asyncio transport: parses requests, keeps answers in order, sends them well or badly.

Knows nothing of what is asked; `Provider.handle` decides.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections import deque
from http import HTTPStatus
from typing import Any, cast

import httptools

from aiq.simulator.exchange import VendorCall
from aiq.simulator.provider import Provider
from aiq.simulator.reply import Reply

MAX_BODY_BYTES = 32 * 1024 * 1024
_MAX_WAITING = 64
_LINGER_S = 1.0
_HALF_CLOSED_S = 60.0
_DRIPS = 20
_NO_LINGER = struct.pack("ii", 1, 0)
_ids = itertools.count(1)
_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


class VendorConnection(asyncio.Protocol):
    """One client connection. Requests on it are answered one after the other, in the order they came."""

    def __init__(self, provider: Provider, loop: asyncio.AbstractEventLoop) -> None:
        self._provider, self._loop = provider, loop
        self._parser: Any = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[VendorCall | Reply, bool]] = deque()
        self._reply: Reply | None = None
        self._timer: asyncio.Handle | None = None
        self._keep_alive = True
        self._paused = self._deaf = False
        self._reset_request()

    def _reset_request(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._size = 0
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is no subclass of asyncio's, so isinstance cannot be asked.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._reply is not None:
            silent = self._reply.ending == "silent"
            self._provider.finish(self._reply, 0 if silent else 499)
            self._reply = None

    def eof_received(self) -> bool:
        # A client may close its sending half and still wait for an answer, but not for a silent one.
        silent = self._reply is not None and self._reply.ending == "silent"
        return self._reply is not None and not silent

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._deaf:
                self._refuse(400, "The request is not valid HTTP/1.1.")
        self._advance()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._advance()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        length = self._headers.get(b"content-length", b"")
        if length.isdigit():
            self._size = int(length)
        if self._size > MAX_BODY_BYTES:
            self._refuse(413, "The request body is larger than 32 MB.")
        elif b"expect" in self._headers and self._reply is None and not self._waiting:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._size = 0

    def on_body(self, body: bytes) -> None:
        if self._deaf:
            return
        self._body.append(body)
        self._size += len(body)
        if self._size > MAX_BODY_BYTES:
            self._body.clear()
            self._refuse(413, "The request body is larger than 32 MB.")

    def on_message_complete(self) -> None:
        if self._deaf:
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        call = VendorCall(self._parser.get_method(), self._url, self._headers, body)
        self._waiting.append((call, self._parser.should_keep_alive()))
        if len(self._waiting) >= _MAX_WAITING:
            self._transport.pause_reading()
        self._reset_request()

    def _refuse(self, status: int, message: str) -> None:
        """Answer what is already waiting, then this, then close: what follows cannot be understood."""
        self._deaf = True
        self._waiting.append((self._provider.unreadable(status, message), False))

    def _advance(self) -> None:
        """Answer waiting requests until one has to wait for time to pass or for the client to read."""
        while self._waiting and self._reply is None and not self._paused and not self._transport.is_closing():
            item, self._keep_alive = self._waiting.popleft()
            if len(self._waiting) == _MAX_WAITING // 2:
                self._transport.resume_reading()
            self._reply = item if isinstance(item, Reply) else self._provider.handle(item)
            if self._reply.ending == "silent":
                return
            if self._reply.delay_s > 0:
                self._timer = self._loop.call_later(self._reply.delay_s, self._start)
            else:
                self._send()

    def _start(self) -> None:
        self._send()
        self._advance()

    def _send(self) -> None:
        reply = self._reply
        assert reply is not None
        if reply.ending == "reset":
            client = self._transport.get_extra_info("socket")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._done(0)
            self._transport.abort()
            return
        head = (
            b"%bcontent-type: %b\r\nx-aiq-simulator: 1\r\nserver: aiq-simulator\r\nx-request-id: "
            b"req_sim%012d\r\n%b%b"
            % (
                _STATUS_LINES.get(reply.status) or b"HTTP/1.1 %d Error\r\n" % reply.status,
                reply.content_type,
                next(_ids),
                reply.headers,
                b"" if self._keep_alive else b"connection: close\r\n",
            )
        )
        if reply.pieces is None:
            head += b"content-length: %d\r\n\r\n" % len(reply.body)
        else:
            head += b"transfer-encoding: chunked\r\n\r\n"
        if reply.drip_s > 0:
            self._drip(head, 0)
        else:
            self._send_body(head)

    def _drip(self, head: bytes, sent: int) -> None:
        """The head, a few bytes at a time."""
        reply, step = self._reply, -(-len(head) // _DRIPS)
        assert reply is not None
        if sent >= len(head):
            self._send_body(b"")
            self._advance()
            return
        self._transport.write(head[sent : sent + step])
        self._timer = self._loop.call_later(reply.drip_s / _DRIPS, self._drip, head, sent + step)

    def _send_body(self, head: bytes) -> None:
        """What follows the head, which may be sent already."""
        reply = self._reply
        assert reply is not None
        broken = reply.ending in ("cut", "half-close")
        if reply.pieces is not None:
            if broken:
                del reply.pieces[len(reply.pieces) // 2 :]
            self._transport.write(head)
            if reply.pause_at == 0:
                self._timer = self._loop.call_later(reply.pause_s, self._send_piece, 0)
            else:
                self._send_piece(0)
            return
        self._transport.write(head + (reply.body[: len(reply.body) // 2] if broken else reply.body))
        if broken:
            self._finish_broken(reply)
        else:
            self._done(reply.status)

    def _finish_broken(self, reply: Reply) -> None:
        """The answer stays a part: the connection is closed, or only the half of it that sends."""
        if reply.ending == "cut":
            self._keep_alive = False
            self._done(reply.status)
            return
        self._deaf = True
        self._waiting.clear()
        self._transport.write_eof()
        self._done(reply.status)

    def _send_piece(self, index: int) -> None:
        reply = self._reply
        assert reply is not None and reply.pieces is not None
        if index < len(reply.pieces):
            piece = reply.pieces[index]
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            # Even without latency the next piece goes out in a later turn of the loop, so that the socket
            # sends it by itself and other connections get their turn.
            pause_s = reply.pause_s if reply.pause_at == index + 1 else 0.0
            self._timer = self._loop.call_later(reply.step_s + pause_s, self._send_piece, index + 1)
            return
        if reply.ending == "open":
            self._provider.finish(reply, reply.status)
            reply.attempt = None  # it has ended, though the connection has not
            return
        if reply.ending in ("cut", "half-close"):
            self._finish_broken(reply)
        else:
            self._transport.write(b"0\r\n\r\n")
            self._done(reply.status)
        self._advance()

    def _done(self, status: int) -> None:
        reply, self._reply, self._timer = self._reply, None, None
        assert reply is not None
        self._provider.finish(reply, status)
        if reply.ending == "half-close":
            self._timer = self._loop.call_later(_HALF_CLOSED_S, self._transport.close)
        elif self._deaf and not self._waiting:
            # Closing over unread bytes would send RST, and the client would never read why.
            self._transport.write_eof()
            self._timer = self._loop.call_later(_LINGER_S, self._transport.close)
        elif not self._keep_alive:
            self._transport.close()
