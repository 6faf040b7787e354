"""Files beside the sample database: a picture to ask about, and a Databricks statement."""

from __future__ import annotations

import struct
import zlib

_SIDE = 96
_WALL, _SHADE, _STAND, _TABLE = b"\xe8\xe4\xda", b"\xf2\xb0\x3d", b"\x3a\x3a\x42", b"\x8a\x5a\x34"

PIPELINE = """\
-- As it would stand in a Databricks notebook; runs here with dialect="databricks" (aiq sql: --dialect databricks).
CREATE OR REPLACE TABLE `tickets_sorted` AS
SELECT
  `id`,
  `answer`.`topic`,
  `answer`.`urgent`
FROM (
  SELECT
    `id`,
    from_json(
      ai_query(
        'chat',
        concat('Topic of this ticket, and whether it is urgent: ', `body`),
        responseFormat => 'STRUCT<ticket: STRUCT<topic: STRING, urgent: BOOLEAN>>',
        modelParameters => named_struct('max_tokens', 60, 'temperature', 0.0)
      ),
      'STRUCT<topic: STRING, urgent: BOOLEAN>'
    ) AS `answer`
  FROM `tickets`
  LIMIT 20
)
"""


def lamp() -> bytes:
    """A drawing of a lamp on a table, as PNG."""
    rows = (b"\0" + b"".join(_color(x, y) for x in range(_SIDE)) for y in range(_SIDE))
    header = struct.pack("!IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)  # eight bits each of red, green and blue
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack("!I", len(data)) + name + data + struct.pack("!I", zlib.crc32(name + data)) for name, data in chunks
    )


def _color(x: int, y: int) -> bytes:
    """Red, green and blue of a pixel; the upper left one is (0, 0)."""
    off_center = abs(x - _SIDE // 2)
    if y >= 82:
        return _TABLE
    if 14 <= y < 44 and off_center <= 10 + (y - 14) // 2:
        return _SHADE
    if (44 <= y < 77 and off_center <= 2) or (y >= 77 and off_center <= 14):
        return _STAND
    return _WALL
