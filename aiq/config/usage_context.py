"""Tags of who is asked for, by which cost is told apart: `project=churn, end_user=u-17`. Knows text only."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from aiq.errors import StatementError

_PAIR = re.compile(r"\s*([^\s=,]+)\s*=\s*([^,]*?)\s*(?:,|$)")
_EXPECTED = "write tags as 'project=churn, end_user=u-17', or as a JSON object of texts"


def parse_usage_context(text: str, whence: str = "aiq_usage_context") -> dict[str, str]:
    """The tags that `text` says. Raises StatementError, which names `whence`, for another form or a tag given twice."""
    found: dict[str, str] = {}
    if text.lstrip().startswith("{"):
        for name, value in _members(text, whence):
            _add(found, name, value, whence)
        return found
    at = 0
    while at < len(text.rstrip()):
        pair = _PAIR.match(text, at)
        if pair is None:
            raise StatementError(f"{whence}: '{text}' is not understood; {_EXPECTED}")
        _add(found, pair[1], pair[2], whence)
        at = pair.end()
    if not found:
        raise StatementError(f"{whence} has no tag; {_EXPECTED}")
    return found


def shown_usage_context(tags: Mapping[str, str]) -> str:
    """Tags as `parse_usage_context` takes them."""
    plain = ", ".join(f"{name}={value}" for name, value in tags.items())
    try:
        return plain if parse_usage_context(plain) == tags else json.dumps(dict(tags), ensure_ascii=False)
    except StatementError:
        return json.dumps(dict(tags), ensure_ascii=False)


def _members(text: str, whence: str) -> list[tuple[str, object]]:
    try:
        members: list[tuple[str, object]] = json.loads(text, object_pairs_hook=list)
    except ValueError:
        raise StatementError(f"{whence}: '{text}' is no JSON object; {_EXPECTED}") from None
    return members


def _add(found: dict[str, str], name: str, value: object, whence: str) -> None:
    if not name or not isinstance(value, str) or not value:
        raise StatementError(f"{whence}: the tag '{name}' needs a text; {_EXPECTED}")
    if name in found:
        raise StatementError(f"{whence}: the tag '{name}' is there twice")
    found[name] = value
