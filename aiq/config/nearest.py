"""The known name that is nearest to one that is not known. Knows only names."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def nearest(name: str, names: Collection[str]) -> str:
    """` Did you mean 'chat'?`, or "" when nothing is close. Starts with a space, to follow a full stop."""
    folded = {known.casefold(): known for known in names}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f" Did you mean {folded[close[0]]!r}?" if close else ""
