"""What the faults of headers, usage and streams look like before they are sent. What happens on a socket is tested in
tests/contract.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiq.simulator import faults
from aiq.simulator.exchange import VendorCall
from aiq.simulator.profile import Profile
from aiq.simulator.provider import Provider
from aiq.simulator.reply import Reply

NOW_S = 1_700_000_000.0


def _send(model: str, **more: Any) -> tuple[Reply, Provider]:
    provider = Provider(Profile(huge_bytes=5000), clock=lambda: NOW_S)
    body = {"model": model, "messages": [{"role": "user", "content": "Say hello to the world."}], **more}
    call = VendorCall(b"POST", b"/v1/chat/completions", {b"authorization": b"Bearer sk-12345678"}, orjson.dumps(body))
    reply = provider.handle(call)
    provider.finish(reply, reply.status)
    return reply, provider


def _stream(model: str) -> list[bytes]:
    reply, _ = _send(model, stream=True, stream_options={"include_usage": True})
    assert reply.pieces is not None
    return reply.pieces


def _usages(pieces: list[bytes]) -> list[int]:
    chunks = [orjson.loads(piece[6:]) if piece.startswith(b"data: {") else {} for piece in pieces]
    return [place for place, chunk in enumerate(chunks) if chunk.get("usage")]


@pytest.mark.parametrize(
    ("how", "value"),
    [
        ("seconds", "1"),
        ("date", "Tue, 14 Nov 2023 22:13:21 GMT"),
        ("past", "Tue, 14 Nov 2023 21:13:20 GMT"),
        ("huge", "1000000000"),
        ("negative", "-5"),
        ("nan", "NaN"),
    ],
)
def test_a_rate_limit_hints_in_every_odd_way_there_is(how: str, value: str) -> None:
    reply, _ = _send(f"sim-429-retry-after-{how}")
    assert (reply.status, reply.headers) == (429, f"retry-after: {value}\r\n".encode())


def test_usage_may_come_twice() -> None:
    pieces = _stream("sim-duplicate-usage")
    places = _usages(pieces)
    assert len(places) == 2 and places[-1] == len(pieces) - 2


def test_usage_may_come_before_everything_and_not_at_the_end() -> None:
    assert _usages(_stream("sim-middle-usage")) == [0]


def test_usage_may_be_more_than_anybody_can_have_used() -> None:
    reply, provider = _send("sim-huge-usage")
    assert orjson.loads(reply.body)["usage"]["completion_tokens"] == 10**15
    assert provider.records.stats()["completion_tokens"] < 100


def test_the_end_may_be_told_twice() -> None:
    ends = [piece for piece in _stream("sim-two-finish") if b'"finish_reason":"stop"' in piece]
    assert len(ends) == 2


def test_a_line_of_a_stream_may_be_huge() -> None:
    assert max(map(len, _stream("sim-huge-line"))) > 5000


def test_lines_may_end_with_cr_alone() -> None:
    stream = b"".join(_stream("sim-cr-stream"))
    assert b"\n" not in stream and stream.endswith(b"data: [DONE]\r\r")


def test_the_content_type_may_be_wrong() -> None:
    reply, _ = _send("sim-wrong-type")
    assert reply.content_type.startswith(b"text/plain") and orjson.loads(reply.body)["choices"]


def test_a_redirect_may_lead_to_a_private_address() -> None:
    reply, provider = _send("sim-redirect-private")
    assert (reply.status, reply.headers) == (307, b"location: http://169.254.169.254/latest/meta-data/\r\n")
    assert provider.records.stats()["ok"] == 0


@pytest.mark.parametrize("name", sorted(faults.NAMES))
def test_every_fault_has_a_model_of_its_name(name: str) -> None:
    fault = faults.of_model(f"sim-{name}")
    assert fault is not None and fault.kind == name
