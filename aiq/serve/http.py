"""One HTTP exchange as an ASGI server hands it over: the request read within bounds, the reply written at once."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from aiq.serve.refusals import Refusal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY = 64 * 1024 * 1024
"""Bytes of a request's body, unpacked. Images of a chat come as base64 text."""
BODY_S = 60.0
"""How long the next piece of a request's body may take."""
WHOLE_BODY_S = 600.0
"""And all of them together."""
_LINE_ENDS = re.compile(rb"\xe2\x80\xa8|\xe2\x80\xa9|\xc2\x85")
_ESCAPED = {b"\xe2\x80\xa8": b"\\u2028", b"\xe2\x80\xa9": b"\\u2029", b"\xc2\x85": b"\\u0085"}
JSON = (b"content-type", b"application/json")
Headers = list[tuple[bytes, bytes]]


class Exchange:
    """A request and the way to answer it. `path` has no slash at its end; `tag` is the id that every reply carries."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, tag: str) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"].rstrip("/") or "/"
        self.scheme: str = scope.get("scheme", "http")
        self.tag = tag
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._receive, self._send = receive, send
        self.begun = False
        """Whether a part of the reply has left."""

    def header(self, name: str) -> str | None:
        """A header's value, None where it is absent. `name` is in lower case."""
        wanted = name.encode()
        for key, value in self._headers:
            if key == wanted:
                return value.decode("latin-1")
        return None

    def only(self, method: str) -> None:
        """Raises Refusal 405 for any other method."""
        if self.method != method:
            raise Refusal(405, "BAD_REQUEST", f"{self.path[:200]} takes {method}, not {self.method}")

    @property
    def base(self) -> str:
        """The URL that this server has for its client."""
        scheme = self.header("x-forwarded-proto") or self.scheme
        return f"{'https' if scheme == 'https' else 'http'}://{self.header('host') or 'localhost'}"

    async def body(self) -> bytes:
        """The body, unpacked where it came packed. Raises Refusal for one that is too large, slow, cut or damaged."""
        pieces, size = [], 0
        clock = asyncio.get_running_loop().time
        ends = clock() + WHOLE_BODY_S
        while True:
            wait_s = min(BODY_S, ends - clock())
            try:
                async with asyncio.timeout(wait_s):
                    message = await self._receive()
            except TimeoutError:
                limit_s = BODY_S if wait_s == BODY_S else WHOLE_BODY_S
                raise Refusal(408, "BAD_REQUEST", f"the request's body did not come within {limit_s:g} s") from None
            if message["type"] == "http.disconnect":
                raise Refusal(400, "BAD_REQUEST", "the client left before it had sent the request's body")
            piece = message.get("body", b"")
            size += len(piece)
            if size > MAX_BODY:
                raise _too_large()
            pieces.append(piece)
            if not message.get("more_body"):
                break
        return self._unpacked(b"".join(pieces))

    def _unpacked(self, body: bytes) -> bytes:
        coding = (self.header("content-encoding") or "identity").lower()
        if coding == "identity":
            return body
        if coding not in ("gzip", "deflate"):
            raise Refusal(415, "BAD_REQUEST", f"content-encoding {coding[:40]} is not known; send gzip, or none")
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
        try:
            found = unpacker.decompress(body, MAX_BODY + 1)
        except zlib.error:
            raise Refusal(400, "BAD_REQUEST", f"the request's body is not {coding}, as its header says") from None
        if len(found) > MAX_BODY:
            raise _too_large()
        if not unpacker.eof:
            raise Refusal(400, "BAD_REQUEST", f"the request's {coding} body is cut")
        return found

    async def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises Refusal for any other."""
        try:
            found = orjson.loads(await self.body())
        except orjson.JSONDecodeError as error:
            raise Refusal(400, "BAD_REQUEST", f"the request's body is not JSON: {error}") from None
        except RecursionError:
            raise Refusal(400, "BAD_REQUEST", "the request's body is nested too deeply") from None
        if not isinstance(found, dict):
            raise Refusal(400, "BAD_REQUEST", "the request's body must be a JSON object")
        return found

    async def gone(self) -> None:
        """Returns when the client has left. To be waited for after the body only."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def reply(self, status: int, body: bytes, headers: Headers) -> None:
        """Sends a whole reply. HEAD gets no body."""
        await self.start(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self._send({"type": "http.response.body", "body": b"" if self.method == "HEAD" else body})

    async def reply_json(self, status: int, value: Any, headers: Headers | None = None) -> None:
        """Sends a value as JSON."""
        await self.reply(status, orjson.dumps(value), [JSON, *(headers or [])])

    async def start(self, status: int, headers: Headers) -> None:
        """Sends the head of a reply."""
        self.begun = True
        tag = (b"x-request-id", self.tag.encode())
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, tag]})

    async def write(self, piece: bytes, *, last: bool = False) -> None:
        """Sends a piece of a reply that was started."""
        await self._send({"type": "http.response.body", "body": piece, "more_body": not last})


def event(value: Any) -> bytes:
    """A server-sent event of a JSON value. Line ends that only some readers know are escaped."""
    text = orjson.dumps(value)
    if not text.isascii():
        text = _LINE_ENDS.sub(lambda found: _ESCAPED[found.group()], text)
    return b"data: " + text + b"\n\n"


def _too_large() -> Refusal:
    return Refusal(413, "INVALID_PARAMETER_VALUE", f"the request's body is larger than {MAX_BODY >> 20} MiB")
