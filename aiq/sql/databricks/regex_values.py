"""Regular expressions as Java reads them, in Python's words, and the functions over them a value at a time."""

from __future__ import annotations

import re
from functools import lru_cache

_LINE_END = "\n\r\x85\u2028\u2029"
_SPACE = "\t\n\x0b\f\r "
_KINDS = {"d": "0-9", "w": "a-zA-Z0-9_", "s": _SPACE}
_NAMED = {
    "Punct": r"!-/:-@\[-`{-~", "Alpha": "a-zA-Z", "Digit": "0-9", "Alnum": "a-zA-Z0-9", "Upper": "A-Z", "Lower": "a-z",
    "Space": _SPACE, "XDigit": "0-9a-fA-F",
}  # fmt: skip
_END = f"(?=(?:\r\n|[{_LINE_END}])?\\Z)(?!(?<=\r)\n\\Z)"
_CLASS = re.compile(r"\[(\^?)((?:\\p\{\w+\}|\\.|[^\]\\\[&^])+)\]", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:p\{(\w+)\}|(.))", re.DOTALL)
_GROUP = re.compile(r"\((?:\?(?::|=|!|<=|<!))?")


def python_pattern(java: str) -> str | None:
    """None for a pattern with a part that Python does not have, or may read in another way."""
    made, at = "", 0
    if java.startswith("(?i)"):
        if "\\b" in java or "\\B" in java or not java.isascii():
            return None
        made, at = "(?i)", 4
    while at < len(java):
        letter = java[at]
        if letter == "\\" and (found := _ESCAPE.match(java, at)) is not None:
            piece = _escaped(found)
        elif letter == "[":
            found = _CLASS.match(java, at)
            piece = _class(found) if found is not None else None
        elif letter == "(":
            found = _GROUP.match(java, at)
            piece = found.group() if found is not None and java[found.end() : found.end() + 1] != "?" else None
        else:
            found = re.compile(r"[*+?}]\+|.", re.DOTALL).match(java, at)
            text = found.group() if found is not None else ""
            piece = None if len(text) > 1 else {".": f"[^{_LINE_END}]", "$": _END}.get(text, text)
        if piece is None or found is None:
            return None
        made, at = made + piece, found.end()
    try:
        compiled(made)
    except (re.error, OverflowError):
        return None
    return made


def _escaped(found: re.Match[str]) -> str | None:
    name, letter = found.groups()
    if name is not None:
        return f"[{_NAMED[name]}]" if name in _NAMED else None
    if letter.lower() in _KINDS:
        return f"[{'^' if letter.isupper() else ''}{_KINDS[letter.lower()]}]"
    if letter in "bBntrf123456789":
        return found.group()
    return None if letter.isalnum() else re.escape(letter)


def _class(found: re.Match[str]) -> str | None:
    inner, at = "", 0
    body = found.group(2)
    while at < len(body):
        escape = _ESCAPE.match(body, at)
        if escape is None:
            inner += body[at] if body[at] not in "|~" else "\\" + body[at]
            at += 1
            continue
        name, letter = escape.groups()
        if name is not None and name in _NAMED:
            inner += _NAMED[name]
        elif name is None and letter in _KINDS:
            inner += _KINDS[letter]
        elif name is None and (letter in "ntrf" or not letter.isalnum()):
            inner += escape.group() if letter in "ntrf" else re.escape(letter)
        else:
            return None
        at = escape.end()
    return None if "--" in inner else f"[{found.group(1)}{inner}]"


@lru_cache(256)
def compiled(pattern: str) -> re.Pattern[str]:
    """Java's `\\b` knows letters beyond ASCII; its `(?i)` does not."""
    return re.compile(pattern, re.ASCII if "(?i)" in pattern else 0)


def groups(pattern: str) -> int:
    return compiled(pattern).groups


def matches(value: str, pattern: str) -> bool:
    return compiled(pattern).search(value) is not None


def instr(value: str, pattern: str) -> int:
    found = compiled(pattern).search(value)
    return 0 if found is None else found.start() + 1


def extract(value: str, pattern: str, group: int) -> str:
    found = compiled(pattern).search(value)
    return "" if found is None else found.group(group) or ""


def substr(value: str, pattern: str) -> str | None:
    found = compiled(pattern).search(value)
    return None if found is None else found.group()


def extract_all(value: str, pattern: str, group: int) -> list[str]:
    return [found.group(group) or "" for found in compiled(pattern).finditer(value)]


def count(value: str, pattern: str) -> int:
    return sum(1 for _ in compiled(pattern).finditer(value))


def replace(value: str, pattern: str, new: str) -> str:
    """`new` is Java's: `$1` is a group, a backslash takes the letter behind it as it is."""
    pieces = replacement(new, groups(pattern))
    return compiled(pattern).sub(
        lambda found: "".join(each if isinstance(each, str) else found.group(each) or "" for each in pieces or ()),
        value,
    )


@lru_cache(256)
def replacement(new: str, count: int) -> list[str | int] | None:
    """The texts and groups of a replacement; None where it is none."""
    pieces: list[str | int] = []
    at = 0
    while at < len(new):
        if new[at] == "$":
            found = re.compile(r"\d").match(new, at + 1)
            if found is None or int(found.group()) > count:
                return None
            end = found.end()
            while end < len(new) and new[end] in "0123456789" and int(new[at + 1 : end + 1]) <= count:
                end += 1
            pieces.append(int(new[at + 1 : end]))
            at = end
            continue
        if new[at] == "\\":
            at += 1
            if at == len(new):
                return None
        pieces.append(new[at])
        at += 1
    return pieces


def split(value: str, pattern: str, limit: int) -> list[str]:
    """Java's split; a match of nothing at the start splits nothing."""
    if not value:
        return [""]
    if not pattern:
        pieces = list(value)
        return [*pieces[: limit - 1], "".join(pieces[limit - 1 :])] if 0 < limit < len(pieces) else pieces
    pieces, at = [], 0
    for found in compiled(pattern).finditer(value):
        if found.end() == 0:
            continue
        if 0 < limit <= len(pieces) + 1:
            break
        pieces.append(value[at : found.start()])
        at = found.end()
    return [*pieces, value[at:]]
