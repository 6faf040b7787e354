"""Server-sent events out of bytes that arrive in any pieces. Must never know a socket, or what an event means.

Source: the WHATWG HTML standard, "Parsing an event stream": lines end with CR LF, LF or CR, a byte order mark at the
beginning is dropped, comments begin with a colon, and an event that the stream's end cuts off is none.
"""

from __future__ import annotations

import codecs


class EventTooLarge(ValueError):
    """An event has more bytes than a reader is willing to keep."""


class ErrorEvent(bytes):
    """The data of an event that is called `error`, whatever is in it."""


class EventParser:
    """The `data` of the events of one stream. All other fields are read over, but for the name of an error."""

    __slots__ = ("_after_cr", "_begun", "_buffer", "_data", "_error", "_limit", "_scanned", "_size")

    def __init__(self, limit: int) -> None:
        """`limit` in bytes is for the data of one event and for one line."""
        self._limit = limit
        self._buffer = bytearray()
        self._data: list[bytes] = []
        self._size = 0  # of _data
        self._scanned = 0  # bytes of the buffer that hold no end of a line
        self._begun = self._error = False
        self._after_cr = False  # the last line ended with CR, of which LF may be the second half

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that the piece completes, in order. Raises EventTooLarge."""
        buffer = self._buffer
        buffer += piece
        if not self._begun:
            if len(buffer) < len(codecs.BOM_UTF8) and codecs.BOM_UTF8.startswith(bytes(buffer)):
                return []  # it may yet become a byte order mark
            self._begun = True
            if buffer.startswith(codecs.BOM_UTF8):
                del buffer[: len(codecs.BOM_UTF8)]
        events: list[bytes] = []
        start, scan = 0, self._scanned
        while True:
            if self._after_cr and start < len(buffer):
                self._after_cr = False
                if buffer[start] == 0x0A:  # the second half of a CR LF
                    start = scan = start + 1
            newline = buffer.find(b"\n", scan)
            carriage = buffer.find(b"\r", scan, len(buffer) if newline < 0 else newline)
            end = newline if carriage < 0 else carriage
            if end < 0:
                break
            self._after_cr = carriage >= 0
            line = bytes(buffer[start:end])
            start = scan = end + 1
            if line:
                self._line(line)
            elif self._data:
                data = b"\n".join(self._data)
                events.append(ErrorEvent(data) if self._error else data)
                self._data, self._size, self._error = [], 0, False
            else:
                self._error = False
        del buffer[:start]
        self._scanned = len(buffer)
        if len(buffer) > self._limit:
            raise EventTooLarge(f"a line of an event is longer than {self._limit:,} bytes")
        return events

    def _line(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name != b"data":
            if name == b"event":
                self._error = value.strip() == b"error"
            return
        value = value[1:] if value[:1] == b" " else value
        self._data.append(value)
        self._size += len(value)
        if self._size > self._limit:
            raise EventTooLarge(f"an event is longer than {self._limit:,} bytes")
