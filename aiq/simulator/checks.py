"""What the checks of all vendors have in common. Knows no vendor's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

Check = Callable[[str, Any], None]
"""Takes a parameter's name and its value, and raises VendorError."""
_PASSED = 1024


def anything(param: str, value: Any) -> None:
    """Every value will do."""


def remembered(check: Check) -> Check:
    """A check of what a statement sends with every row: what has passed once is not looked at again."""
    passed: set[bytes] = set()

    def remembering(param: str, value: Any) -> None:
        text = orjson.dumps(value)
        if text not in passed:
            check(param, value)
            if len(passed) >= _PASSED:
                passed.clear()
            passed.add(text)

    return remembering
