"""A text as people copy it, from notebooks, mails and web pages, as the SQL that it means.

Takes out a byte order mark, characters that nobody sees, and the marks of Databricks notebooks; quoted text stays.
"""

from __future__ import annotations

import re

from aiq.errors import StatementError
from aiq.sql.pieces import Kind, changed, pieces

_ODD = re.compile("[\u00a0\u00ad\u1680\u2000-\u200d\u2028\u2029\u202f\u205f\u2060\u3000\ufeff]|\r(?!\n)")
_INVISIBLE = re.compile("[\u00ad\u200b\u200c\u200d\u2060\ufeff]")
_BLANK = re.compile("[\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")
_NOTEBOOK = re.compile(
    r"^[ \t]*(?:--|#) (?:MAGIC|COMMAND -{5,}|Databricks notebook source)|^\s*%[a-zA-Z]", re.MULTILINE
)
_SEPARATOR = re.compile(r"^[ \t]*(?:--|#) COMMAND -{5,}[ \t]*\r?$", re.MULTILINE)
_SOURCE = re.compile(r"\s*(--|#) Databricks notebook source[^\n]*\n?")
_PREFIX = re.compile(r"[ \t]*(?:--|#) MAGIC ?")
_MAGIC = re.compile(r"\s*%([a-zA-Z]\w*)(?:-sandbox)?")


def clean(text: str, *, databricks: bool) -> str:
    """A text without what only people's tools put into it. Cells of a notebook become statements, with a semicolon.

    Raises StatementError for a cell that is not SQL, such as `%python`.
    """
    text = text.removeprefix("\ufeff")
    if _NOTEBOOK.search(text):
        text = _cells(text)
    return changed(text, _visible, databricks=databricks) if _ODD.search(text) else text


def _visible(kind: Kind, part: str) -> str:
    if kind in ("text", "name"):
        return part
    part = re.sub("\r(?!\n)", "\n", part)
    return _BLANK.sub(" ", _INVISIBLE.sub("", part))


def _cells(text: str) -> str:
    """The SQL of a notebook."""
    text = text.replace("\r\n", "\n")
    source = _SOURCE.match(text)
    python = source is not None and source.group(1) == "#"
    cells = _SEPARATOR.split(text[source.end() :] if source else text)
    found = [cell for cell in (_sql_of(cell, python=python) for cell in cells) if not _is_empty(cell)]
    return ";\n".join(found)


def _sql_of(cell: str, *, python: bool) -> str:
    lines = [
        line for line in cell.split("\n") if line.strip() and not line.lstrip().startswith(("-- DBTITLE", "# DBTITLE"))
    ]
    if lines and all(_PREFIX.match(line) for line in lines):
        cell = "\n".join(_PREFIX.sub("", line, count=1) for line in lines)
    elif python and lines:
        raise StatementError(
            f"this notebook has a cell of Python ('{lines[0].strip()[:40]}'); aiq runs its SQL cells: give those alone"
        )
    magic = _MAGIC.match(cell)
    if magic is None:
        return cell
    name = magic.group(1).lower()
    if name == "md":
        return ""
    if name != "sql":
        raise StatementError(f"this notebook has a cell of %{name}; aiq runs SQL cells: give those alone")
    # A blank for the magic's word keeps what follows it on its line.
    return cell[magic.end() :]


def _is_empty(cell: str) -> bool:
    """Whether a cell has nothing to run."""
    parts = [cell[part.start : part.end] for part in pieces(cell, databricks=True) if part.kind != "comment"]
    return not "".join(parts).strip(" \t\r\n;")
