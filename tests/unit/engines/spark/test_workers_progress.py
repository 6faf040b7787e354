"""The line that a person reads on Spark's driver while its workers answer."""

from __future__ import annotations

import pytest

from aiq.engines.spark.progress import line

LIMITED = (
    "40 requests answered · 4 requests/s · 20 with the workers · the rate limits of 'chat' let them go in 1 h 1 min"
)


@pytest.mark.parametrize(
    ("answered", "asking", "limited_s", "words"),
    [
        (0, 0, 0.0, "Spark computes the requests"),
        (1200, 0, 90.0, "1,200 requests answered · 120 requests/s"),
        (0, 512, 0.0, "0 requests answered · 0 requests/s · 512 with the workers"),
        (40, 20, 3660.0, LIMITED),
    ],
)
def test_the_line_says_what_is_answered_and_what_limits(
    answered: int, asking: int, limited_s: float, words: str
) -> None:
    assert line(answered, asking, 10.0, {"other": 0.0, "chat": limited_s}) == words
