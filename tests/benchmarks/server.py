"""A chat provider that costs next to nothing: any POST gets one constant completion, at once or after a while.

Who asks for a stream gets one of CHUNKS pieces, in one write.

It exists to measure clients, so it must never become the bottleneck: no routing, no JSON, no check of the request.
`GET /__stats` counts, `POST /__reset` starts the counts again. Prints its port as the first line of its output.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
from typing import cast

import httptools
import uvloop
from latencies import Latency

INPUT_TOKENS, OUTPUT_TOKENS = 80, 12
"""Of every answer, so that whoever adds up a bill can check it."""

_ANSWER = json.dumps(
    {
        "id": "chatcmpl-benchmark",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "The product works well, but it is slow to start."},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": INPUT_TOKENS,
            "completion_tokens": OUTPUT_TOKENS,
            "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
        "system_fingerprint": "fp_benchmark",
    }
).encode()


CHUNKS = 20


def _stream() -> bytes:
    """A whole streamed answer as chunked HTTP."""

    def event(delta: dict[str, str], finish: str | None = None, **more: object) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "gpt-4o-mini"}
        return b"data: " + json.dumps({**chunk, "choices": choices, **more}).encode() + b"\n\n"

    total = INPUT_TOKENS + OUTPUT_TOKENS
    usage = {"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS, "total_tokens": total}
    pieces = [event({"role": "assistant", "content": "The"}), *(event({"content": " word"}) for _ in range(CHUNKS - 1))]
    pieces += [event({}, "stop", usage=usage), b"data: [DONE]\n\n"]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


_STREAM = _stream()
_NUMBER = re.compile(rb"\d{12}")
"""The prompt's number, with which it begins."""


def _response(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Counts:
    """What the server saw since the last reset."""

    __slots__ = ("connections", "in_flight", "most_in_flight", "requests")

    def __init__(self) -> None:
        self.requests = self.in_flight = self.most_in_flight = self.connections = 0

    def reset(self) -> None:
        self.requests, self.most_in_flight = 0, self.in_flight

    def as_json(self) -> bytes:
        return json.dumps({name: getattr(self, name) for name in self.__slots__}).encode()


class ChatProtocol(asyncio.Protocol):
    """One connection, one request at a time (HTTP clients do not pipeline)."""

    __slots__ = ("_answer", "_body", "_counts", "_latency", "_loop", "_parser", "_transport", "_url")

    def __init__(self, counts: Counts, latency: Latency, loop: asyncio.AbstractEventLoop) -> None:
        self._counts, self._latency, self._loop = counts, latency, loop
        self._answer = _response(_ANSWER)
        self._url = self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is no subclass of it
        self._parser = httptools.HttpRequestParser(self)
        self._counts.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._counts.connections -= 1

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url, self._body = url, b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        counts = self._counts
        if self._url.startswith(b"/__"):
            if self._url == b"/__reset":
                counts.reset()
            self._transport.write(_response(counts.as_json()))
            return
        counts.requests += 1
        counts.in_flight += 1
        if counts.in_flight > counts.most_in_flight:
            counts.most_in_flight = counts.in_flight
        if self._latency.median_ms:
            found = _NUMBER.search(self._body)
            self._loop.call_later(self._latency.of_s(int(found[0]) if found else 0), self._send)
        else:
            self._send()

    def _send(self) -> None:
        self._counts.in_flight -= 1
        if not self._transport.is_closing():
            streamed = b'"stream":true' in self._body or b'"stream": true' in self._body
            self._transport.write(_STREAM if streamed else self._answer)


async def serve(port: int, latency: Latency) -> None:
    """Serves on 127.0.0.1 until the process is ended. `port` 0 takes a free one."""
    loop, counts = asyncio.get_running_loop(), Counts()
    server = await loop.create_server(lambda: ChatProtocol(counts, latency, loop), "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, default=0)
    arguments.add_argument("--latency-ms", type=float, default=0.0)
    arguments.add_argument("--p99-ms", type=float, help="makes the latency log-normal around --latency-ms")
    arguments.add_argument("--core", type=int, help="the CPU core to run on")
    given = arguments.parse_args()
    if given.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {given.core})
    uvloop.run(serve(given.port, Latency(given.latency_ms, given.p99_ms)))


if __name__ == "__main__":
    main()
