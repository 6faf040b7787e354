"""Messages of `application/vnd.amazon.eventstream` out of bytes that arrive in any pieces. Must never know a socket, or
what a message means.

Source: AWS's "Event stream encoding": a prelude of two lengths and its CRC, headers, a payload, and a CRC of it all.
"""

from __future__ import annotations

import struct
from typing import NamedTuple
from zlib import crc32

PRELUDE_BYTES = 12
OVERHEAD_BYTES = 16
"""Prelude and the CRC at the end: the length of a message without headers and payload."""
MAX_HEADERS_BYTES = 128 * 1024

_PRELUDE = struct.Struct(">III")
_FIXED_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type: true, false, the integers, a timestamp, a UUID."""
_BYTES, _STRING = 6, 7


class MalformedMessage(ValueError):
    """The bytes are no message, were damaged on the way, or are more than a reader is willing to keep."""


class EventMessage(NamedTuple):
    """One message. `headers` has those whose value is text; others are not needed."""

    headers: dict[str, str]
    payload: bytes


class MessageParser:
    """The messages of one stream."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int) -> None:
        """`limit` in bytes is for one message."""
        self._limit = limit
        self._buffer = bytearray()

    @property
    def rest(self) -> int:
        """Bytes of a message that is not complete yet."""
        return len(self._buffer)

    def feed(self, piece: bytes) -> list[EventMessage]:
        """The messages that the piece completes, in order. Raises MalformedMessage."""
        buffer = self._buffer
        buffer += piece
        messages: list[EventMessage] = []
        start = 0
        with memoryview(buffer) as view:
            while len(view) - start >= PRELUDE_BYTES:
                total, headers_size, check = _PRELUDE.unpack_from(view, start)
                if crc32(view[start : start + 8]) != check:
                    raise MalformedMessage("the checksum of a message's prelude is wrong")
                if not OVERHEAD_BYTES + headers_size <= total <= self._limit or headers_size > MAX_HEADERS_BYTES:
                    raise MalformedMessage(f"a message of {total:,} bytes with {headers_size:,} bytes of headers")
                end = start + total
                if len(view) < end:
                    break
                (check,) = struct.unpack_from(">I", view, end - 4)
                if crc32(view[start : end - 4]) != check:
                    raise MalformedMessage("the checksum of a message is wrong")
                middle = start + PRELUDE_BYTES + headers_size
                headers = _headers(bytes(view[start + PRELUDE_BYTES : middle]))
                messages.append(EventMessage(headers, bytes(view[middle : end - 4])))
                start = end
        del buffer[:start]
        return messages


def _headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    at = 0
    try:
        while at < len(block):
            size = block[at]
            name = block[at + 1 : at + 1 + size].decode()
            at += 1 + size
            kind = block[at]
            at += 1
            if kind in (_BYTES, _STRING):
                (size,) = struct.unpack_from(">H", block, at)
                at += 2
            else:
                size = _FIXED_SIZES[kind]
            if at + size > len(block):
                raise MalformedMessage("a header of a message is longer than its headers")
            if kind == _STRING:
                headers[name] = block[at : at + size].decode()
            at += size
    except (IndexError, KeyError, struct.error, UnicodeDecodeError):
        raise MalformedMessage("the headers of a message cannot be read") from None
    return headers
