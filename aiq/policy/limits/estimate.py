"""How many tokens a request will take, before it is asked. Learns from the answers of its endpoint; knows no limits."""

from __future__ import annotations

import math
from typing import Any

from aiq.request import Request, Usage

CHARACTERS_PER_TOKEN = 4.0
OUTPUT_TOKENS = 4096
"""Of an answer whose request sets no limit, before anything was learnt."""
LEARNT_AFTER = 3
"""Answers before what was learnt is believed."""
_WEIGHT = 0.05
MOST_PER_CHARACTER = 1.0
"""Tokens of a character that are believed. More were for what is no text (images, a model's own instructions)."""
_SPREAD = 1.5
"""Mean deviations above the mean that are reserved: about nine answers of ten are shorter."""


class Estimator:
    """Running means of one endpoint: tokens a character, and output tokens with their mean deviation."""

    __slots__ = ("_answers", "_deviation", "_output", "_per_character")

    def __init__(self) -> None:
        self._answers = 0
        self._per_character = 1 / CHARACTERS_PER_TOKEN
        self._output = self._deviation = 0.0

    def input_tokens(self, characters: int) -> int:
        """Tokens of a prompt of so many characters; at least 1."""
        return math.ceil((characters + 1) * self._per_character)

    def least_input_tokens(self, characters: int) -> int:
        """Tokens that it has at the least, whatever was learnt: what may refuse a prompt for good must not be a guess
        from shorter ones."""
        return math.ceil((characters + 1) * min(self._per_character, 1 / CHARACTERS_PER_TOKEN))

    def output_tokens(self, request: Request) -> int:
        """Tokens that the answer is likely to take at the most: what the request allows, then what was learnt."""
        if request.task in ("llm/v1/embeddings", "custom"):
            return 0
        most = allowed_output_tokens(request.body)
        if self._answers < LEARNT_AFTER:
            return most if most is not None else OUTPUT_TOKENS
        likely = math.ceil(self._output + _SPREAD * self._deviation)
        return likely if most is None else min(most, likely)

    def learn(self, characters: int, usage: Usage) -> None:
        """Takes in what a request really took."""
        self._answers += 1
        weight = max(_WEIGHT, 1 / self._answers)
        if characters:
            ratio = min(MOST_PER_CHARACTER, usage.input_tokens / (characters + 1))
            self._per_character += weight * (ratio - self._per_character)
        gap = usage.output_tokens - self._output
        self._output += weight * gap
        if self._answers > 1:
            self._deviation += weight * (abs(gap) - self._deviation)


def allowed_output_tokens(body: dict[str, Any]) -> int | None:
    """`max_tokens` or `max_completion_tokens` of a request, times the answers it wants; None where it sets none."""
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    if not isinstance(most, int) or most < 1:  # a negative one would give back what others have used
        return None
    several = body.get("n")
    return most * (several if isinstance(several, int) and several > 1 else 1)
