"""Messages of `application/vnd.amazon.eventstream` as bytes. Knows no vendor's events.

Source: AWS's "Event stream encoding": two lengths and their CRC, headers, a payload, and a CRC of it all.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from zlib import crc32

CONTENT_TYPE = b"application/vnd.amazon.eventstream"
_STRING = 7


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message whose headers are all texts."""
    block = b""
    for name, value in headers.items():
        text = value.encode()
        block += bytes([len(name)]) + name.encode() + struct.pack(">BH", _STRING, len(text)) + text
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    framed = prelude + struct.pack(">I", crc32(prelude)) + block + payload
    return framed + struct.pack(">I", crc32(framed))


def event(name: str, payload: bytes) -> bytes:
    """One event of a service that answers in JSON."""
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return message(headers, payload)


def exception(name: str, payload: bytes) -> bytes:
    """What ends a stream instead of its answer."""
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return message(headers, payload)
