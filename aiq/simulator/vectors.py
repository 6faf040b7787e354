"""Embeddings without a model: hashed bags of words, so that texts that share words have similar vectors.

Knows no route. The same text, seed and number of dimensions always give the same vector.
"""

from __future__ import annotations

import math
import re
import zlib

_WORD = re.compile(r"\w+")


def embed(text: str | list[int], dimensions: int, seed: int) -> list[float]:
    """A unit vector of `dimensions` floats, each rounded to 6 digits.

    A word counts by its first six letters, a crude stem. Each is spread over four signed places.
    """
    words = _WORD.findall(text.lower()) if isinstance(text, str) else [str(token) for token in text]
    vector = [0.0] * dimensions
    for word in words or [str(text)]:
        bits = zlib.crc32(word[:6].encode("utf-8", "replace"), seed & 0xFFFFFFFF) * 0x9E3779B97F4A7C15
        for shift in (8, 20, 32, 44):
            place = bits >> shift
            vector[(place >> 1) % dimensions] += 1.0 if place & 1 else -1.0
    norm = math.sqrt(sum(map(float.__mul__, vector, vector)))
    if norm == 0:
        vector[zlib.crc32(str(text).encode("utf-8", "replace")) % dimensions] = norm = 1.0
    return [round(x / norm, 6) for x in vector]
