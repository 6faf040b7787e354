"""What leaves the server, byte by byte."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator, MutableMapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiq.serve.http import MAX_BODY, Exchange, event
from aiq.serve.refusals import Refusal


def exchange(*pieces: bytes, coding: str = "", ends: bool = True) -> Exchange:
    """An exchange whose request has a body of these pieces; without `ends` the client leaves after them."""
    headers = [(b"content-encoding", coding.encode())] if coding else []

    def messages() -> Iterator[MutableMapping[str, Any]]:
        for at, piece in enumerate(pieces):
            yield {"type": "http.request", "body": piece, "more_body": not ends or at + 1 < len(pieces)}
        yield {"type": "http.disconnect"}

    waiting = messages()

    async def receive() -> MutableMapping[str, Any]:
        return next(waiting)

    async def send(message: MutableMapping[str, Any]) -> None:
        raise AssertionError("nothing is sent here")

    return Exchange({"method": "POST", "path": "/x/", "headers": headers}, receive, send, "tag")


@given(st.text())
def test_an_event_is_one_line_for_every_reader(text: str) -> None:
    try:
        made = event({"a": text})
    except TypeError:  # a lone surrogate is no text
        return
    assert made.startswith(b"data: ") and made.endswith(b"\n\n")
    assert len(made.decode().rstrip("\n").splitlines()) == 1
    assert orjson.loads(made.removeprefix(b"data: ")) == {"a": text}


@pytest.mark.parametrize("pieces", [(b'{"a": 1}',), (b'{"a"', b"", b": 1}")])
def test_a_body_comes_in_pieces(pieces: tuple[bytes, ...]) -> None:
    assert asyncio.run(exchange(*pieces).json()) == {"a": 1}
    packed = gzip.compress(b"".join(pieces))
    assert asyncio.run(exchange(packed[:9], packed[9:], coding="gzip").json()) == {"a": 1}


BOMB = gzip.compress(bytes(MAX_BODY + 1))


@pytest.mark.parametrize(
    ("pieces", "coding", "ends", "status"),
    [
        ((b'{"a"',), "", False, 400),
        ((bytes(MAX_BODY), b"x"), "", True, 413),
        ((BOMB,), "gzip", True, 413),
        ((gzip.compress(b"{}")[:-9],), "gzip", True, 400),
        ((b"{}",), "gzip", True, 400),
        ((b"{}",), "br", True, 415),
        ((b"5",), "", True, 400),
        ((b"",), "", True, 400),
        ((b'{"a":' + b"[" * 1_000_000,), "", True, 400),
    ],
    ids=["cut", "large", "packed and large", "packed and cut", "not packed", "br", "5", "none", "deep"],
)
def test_a_body_that_cannot_be_read_is_refused(pieces: tuple[bytes, ...], coding: str, ends: bool, status: int) -> None:
    with pytest.raises(Refusal) as refused:
        asyncio.run(exchange(*pieces, coding=coding, ends=ends).json())
    assert refused.value.status == status
