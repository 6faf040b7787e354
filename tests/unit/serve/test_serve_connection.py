"""What a reply writes in one turn of the loop goes out in one piece, in its order, and nothing of it is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiq.serve.connection import Outgoing


class Wire(asyncio.Transport):
    """A transport that remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        assert not self.closed
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...


async def _outgoing() -> tuple[Outgoing, Wire]:
    wire = Wire()
    return Outgoing(wire, asyncio.get_running_loop()), wire


def test_pieces_of_one_turn_are_one_and_those_of_the_next_another() -> None:
    async def run() -> list[bytes]:
        outgoing, wire = await _outgoing()
        outgoing.write(b"head ")
        outgoing.write(b"body")
        await asyncio.sleep(0)
        outgoing.write(b"more")
        await asyncio.sleep(0)
        return wire.sent

    assert asyncio.run(run()) == [b"head body", b"more"]


@pytest.mark.parametrize("pieces", [1, 3])
def test_what_was_written_is_sent_before_the_connection_closes(pieces: int) -> None:
    async def run() -> Wire:
        outgoing, wire = await _outgoing()
        for number in range(pieces):
            outgoing.write(b"%d" % number)
        outgoing.close()
        outgoing.write(b"too late")
        await asyncio.sleep(0)
        return wire

    wire = asyncio.run(run())
    assert wire.closed and b"".join(wire.sent) == b"012"[:pieces]


def test_a_writer_that_never_waits_holds_little() -> None:
    async def run() -> list[int]:
        outgoing, wire = await _outgoing()
        for _ in range(100):
            outgoing.write(bytes(10_000))
        sent = [len(piece) for piece in wire.sent]
        await asyncio.sleep(0)
        assert sum(map(len, wire.sent)) == 1_000_000
        return sent

    assert asyncio.run(run()) == [70_000] * 14
