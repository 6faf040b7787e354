"""Labels in the place of personal data: `<EMAIL_ADDRESS>`. Knows findings and texts, no requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from aiq.policy.guardrails.pii import Finding


def mask(text: str, findings: Sequence[Finding]) -> str:
    """The text with each finding replaced by its type, as presidio-anonymizer's `replace` does it by default.

    Findings of one type that overlap or have only spaces between them become one; one inside another is left out; of
    equal ones the surest counts; of two that overlap otherwise, each has its label.
    """
    pieces = _joined(text, _outermost(_merged(findings)))
    parts: list[str] = []
    last = len(text)
    for piece in sorted(pieces, key=lambda f: (f.start, f.end), reverse=True):
        parts += text[min(piece.end, last) : last], f"<{piece.entity_type}>"
        last = piece.start
    return text[:last] + "".join(reversed(parts))


def edit_json(text: str, edit: Callable[[str], str]) -> str:
    """JSON text with `edit` applied to its strings, keys and numbers, and still JSON: an edited number is a string.

    Text that is no JSON is edited as it is. What nothing is edited in stays as written. Raises RecursionError for what
    is nested too deeply to be taken apart: as plain text, its escapes would hide what they stand for.
    """
    try:
        value = json.loads(text)
    except ValueError:
        return edit(text)
    edited = edit_value(value, edit)
    return text if edited is value else json.dumps(edited, ensure_ascii=False)


def edit_value(value: Any, edit: Callable[[str], str]) -> Any:
    """A JSON value with `edit` applied as in `edit_json`; the very same object where nothing changed."""
    if isinstance(value, str):
        edited = edit(value)
        return value if edited == value else edited
    if isinstance(value, dict):
        members: dict[str, Any] = {}
        for key, member in value.items():
            label = edited = edit(key)
            while label in members:  # two names with one label are still two members
                label = f"{edited} {len(members) + 1}"
            members[label] = edit_value(member, edit)
        same = len(members) == len(value) and all(key in members and members[key] is value[key] for key in value)
        return value if same else members
    if isinstance(value, list):
        items = [edit_value(item, edit) for item in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    if isinstance(value, int | float) and not isinstance(value, bool):
        written = str(value)
        edited = edit(written)
        return value if edited == written else edited
    return value


def _merged(findings: Sequence[Finding]) -> list[Finding]:
    """Those of one type that overlap, as one; each at the place of its last part."""
    ordered = sorted(findings, key=lambda f: (f.start, f.end))
    placed: dict[str, list[tuple[int, Finding]]] = {}
    for position, finding in enumerate(ordered):
        same = placed.setdefault(finding.entity_type, [])
        if same and min(same[-1][1].end, finding.end) > max(same[-1][1].start, finding.start):
            other = same.pop()[1]
            finding = Finding(
                finding.entity_type, other.start, max(other.end, finding.end), max(other.score, finding.score)
            )
        same.append((position, finding))
    return [finding for _, finding in sorted((pair for same in placed.values() for pair in same), key=lambda p: p[0])]


def _outermost(findings: Sequence[Finding]) -> list[Finding]:
    """Those that are in no other one, in their order; of those at one place the surest, and of these the last."""
    surest: dict[tuple[int, int], int] = {}
    for position, finding in enumerate(findings):
        place = finding.start, -finding.end
        if place not in surest or findings[surest[place]].score <= finding.score:
            surest[place] = position
    kept, end = [], -1
    for place in sorted(surest):
        if -place[1] > end:
            end = -place[1]
            kept.append(surest[place])
    return [findings[position] for position in sorted(kept)]


def _joined(text: str, findings: Sequence[Finding]) -> list[Finding]:
    joined: list[Finding] = []
    for finding in findings:
        if joined and joined[-1].entity_type == finding.entity_type:
            between = text[joined[-1].end : finding.start]
            if between and not between.strip(" "):
                finding = finding._replace(start=joined.pop().start)
        joined.append(finding)
    return joined
