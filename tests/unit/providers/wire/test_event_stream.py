"""Event streams of AWS: bytes in any pieces, checksums, and what is no message."""

from __future__ import annotations

import struct
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from aiq.providers.wire.event_stream import EventMessage, MalformedMessage, MessageParser

LIMIT = 1000


def header(name: str, kind: int, value: bytes) -> bytes:
    return bytes([len(name)]) + name.encode() + bytes([kind]) + value


def text(name: str, value: str) -> bytes:
    return header(name, 7, struct.pack(">H", len(value.encode())) + value.encode())


def message(headers: bytes, payload: bytes) -> bytes:
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    whole = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return whole + struct.pack(">I", crc32(whole))


EVERY_TYPE = b"".join(
    [
        header("yes", 0, b""), header("no", 1, b""), header("byte", 2, b"\x01"), header("short", 3, b"\x00\x01"),
        header("int", 4, b"\x00" * 4), header("long", 5, b"\x00" * 8), header("bytes", 6, b"\x00\x02ab"),
        text(":event-type", "häppy 🎉"), header("at", 8, b"\x00" * 8), header("uuid", 9, b"\x00" * 16),
    ]
)  # fmt: skip
STREAM = message(EVERY_TYPE, b'{"a":1}') + message(b"", b"") + message(text("x", ""), "ö".encode() * 50)
WANTED = [
    EventMessage({":event-type": "häppy 🎉"}, b'{"a":1}'),
    EventMessage({}, b""),
    EventMessage({"x": ""}, "ö".encode() * 50),
]


def parse(*pieces: bytes) -> list[EventMessage]:
    parser = MessageParser(LIMIT)
    return [found for piece in pieces for found in parser.feed(piece)]


def test_a_message_is_its_headers_of_text_and_its_payload() -> None:
    assert parse(STREAM) == WANTED


def test_a_stream_cut_at_any_byte_gives_the_same_messages() -> None:
    for at in range(len(STREAM) + 1):
        assert parse(STREAM[:at], STREAM[at:]) == WANTED
    assert parse(*(STREAM[at : at + 1] for at in range(len(STREAM)))) == WANTED


def test_botocore_reads_the_same_messages() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(STREAM)
    assert [found.payload for found in buffer] == [found.payload for found in WANTED]


def test_any_flipped_bit_is_noticed_or_leaves_the_message_unfinished() -> None:
    whole = message(text(":event-type", "metadata"), b'{"usage":{}}')
    for bit in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MalformedMessage):
            assert parse(bytes(damaged)) == []
            raise MalformedMessage("it waits for the rest")


@pytest.mark.parametrize(
    ("total", "headers"), [(0, 0), (15, 0), (16, 1), (100, 85), (LIMIT + 1, 0), (2**32 - 1, 0), (300_000, 200_000)]
)
def test_impossible_lengths_are_refused_before_anything_is_kept(total: int, headers: int) -> None:
    prelude = struct.pack(">II", total, headers)
    with pytest.raises(MalformedMessage):
        parse(prelude + struct.pack(">I", crc32(prelude)))


@pytest.mark.parametrize(
    "headers",
    [b"\x05ab", b"\x01a\x0a", b"\x01a\x07\x00\x09x", b"\x01a\x04\x00", b"\x01\xff\x00", b"\x01a", b"\x01a\x07\x00"],
)
def test_headers_that_cannot_be_read_are_refused(headers: bytes) -> None:
    with pytest.raises(MalformedMessage, match="header"):
        parse(message(headers, b""))


@given(st.lists(st.binary(max_size=64), max_size=8))
def test_no_bytes_make_the_parser_fail_otherwise(pieces: list[bytes]) -> None:
    parser = MessageParser(LIMIT)
    try:
        for piece in pieces:
            parser.feed(piece)
    except MalformedMessage:
        return
    assert parser.rest <= LIMIT


@given(st.binary(max_size=200), st.binary(max_size=100))
def test_no_headers_make_the_parser_fail_otherwise(headers: bytes, payload: bytes) -> None:
    try:
        (found,) = parse(message(headers, payload))
    except MalformedMessage:
        return
    assert found.payload == payload
