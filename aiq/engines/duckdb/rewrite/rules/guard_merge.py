"""The values that a MERGE writes behind what decides that it writes them.

`WHEN MATCHED AND c THEN UPDATE SET a = ai(x)` -> `... SET a = CASE WHEN <on> THEN CASE WHEN c THEN ai(x) END END`.
DuckDB computes the values of every WHEN for every row of the join, whichever is taken. The text is edited by places.
"""

from __future__ import annotations

import re

from aiq.engines.duckdb.rewrite.parts import Parts, Span

_CALL = re.compile(r"__aiq_[0-9a-f]+\(", re.IGNORECASE)


def guard_merge(text: str, parts: Parts) -> list[tuple[int, int, str]]:
    """What to put in the places of the values with AI calls of a MERGE."""
    return [(span.start, span.end, guarded) for span, guarded in _guarded(text, parts)]


def merged_values(text: str, parts: Parts) -> list[str]:
    """The values and conditions with calls that a MERGE evaluates, for rows of its target and source, fully joined."""
    conditions = [when.condition.of(text) for when in parts.whens if when.condition is not None]
    return [
        *(f"({condition})" for condition in conditions if _CALL.search(condition)),
        *(guarded for _, guarded in _guarded(text, parts)),
    ]


def _guarded(text: str, parts: Parts) -> list[tuple[Span, str]]:
    assert parts.target is not None and parts.source is not None and parts.where is not None
    on, target, source = (span.of(text) for span in (parts.where, parts.target, parts.source))
    joined = {
        "matched": f"({on})",
        "source": f"NOT EXISTS (SELECT 1 FROM {target} WHERE {on})",
        "target": f"NOT EXISTS (SELECT 1 FROM {source} WHERE {on})",
    }
    earlier: dict[str, list[str]] = {rows: [] for rows in joined}
    found: list[tuple[Span, str]] = []
    for when in parts.whens:
        own = "TRUE" if when.condition is None else f"({when.condition.of(text)})"
        for value in when.values:
            if _CALL.search(value.of(text)) and not (when.rows == "target" and _CALL.search(source)):
                claimed = "".join(f" WHEN {one} THEN NULL" for one in earlier[when.rows])
                inner = f"CASE{claimed} WHEN {own} THEN ({value.of(text)}) END"
                found.append((value, f"CASE WHEN {joined[when.rows]} THEN {inner} END"))
        earlier[when.rows].append(own)
    return found
