"""Which share of rows a kind of condition is expected to let pass, and in which order that puts two of them.

The textbook's constants (Selinger et al., 1979), for a condition whose answers are not known. Pure arithmetic.
"""

from __future__ import annotations

import math
import sys

EQUALITY = 0.1
RANGE = 1 / 3
BETWEEN = 0.25
MATCH = 0.25
"""LIKE, regular expressions, starts_with and their kind."""
IS_NULL = 0.1
MOST_OF_A_LIST = 0.5
UNKNOWN = 0.5
"""A Boolean of which nothing is known, such as an answer that is itself the condition."""


def rank(cost: float, share: float) -> float:
    """What decides the order of the conditions of an AND: the smallest first. For an OR, give 1 - share.

    The cost of a row over the share of rows that it saves the later ones (Hellerstein's predicate migration, 1993).
    `cost` in any unit, `share` of the rows that pass (0 to 1). A condition that saves nothing comes last, and of those
    that cost nothing the most selective is first.
    """
    saved = 1.0 - share
    return max(cost, sys.float_info.min) / saved if saved > 0.0 else math.inf
