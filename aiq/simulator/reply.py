"""What goes back to a client, well or badly: a reply, and what each fault does to a good one. Knows no socket."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from typing import Literal, NamedTuple

from aiq.simulator.exchange import VendorRequest
from aiq.simulator.faults import Fault
from aiq.simulator.quota import Limits
from aiq.simulator.records import ReceivedRequest

JSON = b"application/json"
_HTML = b"<!DOCTYPE html><html><head><title>%b</title></head><body><h1>%b</h1></body></html>\n"
PRIVATE_URL = b"http://169.254.169.254/latest/meta-data/"
Ending = Literal["complete", "silent", "reset", "cut", "half-close", "open"]

_USABLE = frozenset({"gzip", "null", "refusal", "no-usage", "absurd-usage", "huge", "late", "stall"}) | frozenset(
    {"no-done", "no-end", "odd-stream", "no-prefill", "bad-schema", "wrong-type", "huge-usage", "middle-usage"}
    | {"duplicate-usage", "two-finish", "huge-line", "cr-stream", "slow-headers"}
)
"""Faults after which the answer is whole all the same."""


class Reply:
    """What to send, and how to misbehave while sending it.

    `delay_s` passes before the first byte, `drip_s` until the headers are out, `step_s` between `pieces` (a stream;
    `body` is unused then), and `pause_s` before the piece of number `pause_at`. `ending`: silent sends nothing, reset
    closes with RST, cut closes after half of the body, half-close only the half that sends, open sends all of a stream
    but its end. `limits` and `asked` settle the quota in the end.
    """

    __slots__ = (
        "asked",
        "attempt",
        "body",
        "content_type",
        "delay_s",
        "drip_s",
        "ending",
        "headers",
        "limits",
        "pause_at",
        "pause_s",
        "pieces",
        "status",
        "step_s",
    )

    def __init__(self, status: int, body: bytes, content_type: bytes = JSON, headers: bytes = b"") -> None:
        self.status, self.body, self.content_type, self.headers = status, body, content_type, headers
        self.delay_s = self.step_s = self.pause_s = self.drip_s = 0.0
        self.pause_at = -1
        self.ending: Ending = "complete"
        self.pieces: list[bytes] | None = None
        self.attempt: ReceivedRequest | None = None
        self.limits: Limits | None = None
        self.asked: VendorRequest | None = None


def split_inside_characters(events: Sequence[bytes]) -> list[bytes]:
    """The same bytes in more pieces: an event with a multi-byte character is cut inside its last one."""
    pieces = []
    for data in events:
        at = next((i for i in range(len(data) - 1, 0, -1) if data[i] & 0xC0 == 0x80), 0)
        pieces += [data[:at], data[at:]] if at else [data]
    return pieces


class VendorEvents(NamedTuple):
    """Pieces of a vendor's stream: one that cannot be read, and one that tells an error."""

    broken: bytes
    error: bytes


def deform(reply: Reply, fault: Fault, attempt: ReceivedRequest, events: VendorEvents, huge_bytes: int) -> Reply:
    """Do to a good reply what the fault does. What a client cannot use is not billed."""
    kind = fault.kind
    if kind == "wrong-type":
        reply.content_type = b"text/plain; charset=utf-8"
    if kind == "slow-headers":
        reply.drip_s = fault.pause_ms / 1000 or 1.0
    if reply.pieces is not None and reply.content_type.startswith(b"text/event-stream"):
        if kind == "cr-stream":
            reply.pieces = [piece.replace(b"\n", b"\r") for piece in reply.pieces]
        elif kind == "huge-line":
            reply.pieces.insert(1, b'data: {"padding": "%b"}\n\n' % (b"a" * huge_bytes))
    if kind == "gzip":
        if reply.pieces is not None:
            reply.body, reply.pieces = b"".join(reply.pieces), None
        reply.body = gzip.compress(reply.body, 1, mtime=0)
        reply.headers += b"content-encoding: gzip\r\n"
    if kind in ("late", "stall"):
        reply.pause_s = fault.pause_ms / 1000 or 1.0
        if reply.pieces is None:
            reply.delay_s += reply.pause_s
        else:
            reply.pause_at = 0 if kind == "late" else len(reply.pieces) * 2 // 3
    if reply.pieces is not None and kind in ("no-done", "no-end"):
        del reply.pieces[-1]
        reply.ending = "open" if kind == "no-end" else reply.ending
    if reply.pieces is not None and kind == "odd-stream":
        stream = b"".join(reply.pieces)
        if reply.content_type.startswith(b"text/event-stream"):
            stream = b"\xef\xbb\xbf: hello\n\n" + b": still here\n".join(reply.pieces)
            stream = stream.replace(b"\n", b"\r\n")
        reply.pieces = [bytes([byte]) for byte in stream]
    if kind in _USABLE:
        return reply
    attempt.ok = False
    if kind == "timeout":
        reply.ending = "silent"
    elif kind == "reset":
        reply.ending = "reset"
    elif kind == "cut":
        reply.ending = "cut"
    elif kind == "half-close":
        reply.ending = "half-close"
    elif kind == "malformed-chunk" and reply.pieces is not None:
        reply.pieces.insert(len(reply.pieces) * 2 // 3, events.broken)
    elif kind == "error-chunk" and reply.pieces is not None:
        reply.pieces[len(reply.pieces) * 2 // 3 :] = [events.error]
    elif kind == "truncated":
        if reply.pieces is not None:
            reply.pieces = reply.pieces[: len(reply.pieces) // 2]
        reply.body = reply.body[: len(reply.body) // 2]
    elif kind == "malformed":
        reply.body = b'{"id": "chatcmpl-malformed", "choices": [{"message": {"content": "Hello\x80\xff} ]] '
        if reply.pieces is not None:
            reply.pieces = [*reply.pieces[:1], events.broken, *reply.pieces[-1:]]
    elif kind in ("html", "html-502"):
        bad = kind == "html-502"
        title = b"502 Bad Gateway" if bad else b"Sign in"
        headers, delay_s = reply.headers, reply.delay_s
        reply = Reply(502 if bad else 200, _HTML % (title, title), b"text/html; charset=utf-8", headers)
        reply.delay_s = delay_s
    elif kind == "redirect":
        reply = Reply(302, b"", headers=b"location: /redirected\r\n")
    elif kind == "redirect-private":
        reply = Reply(307, b"", headers=b"location: %b\r\n" % PRIVATE_URL)
    return reply
