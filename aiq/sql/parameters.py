"""Which named parameters a statement has: `$name`, and `:name` in Databricks' SQL. Knows no values."""

from __future__ import annotations

import re

from aiq.sql.pieces import pieces

_OF_DUCKDB, _OF_DATABRICKS = re.compile(r"(?<![$\w])\$([A-Za-z_]\w*)"), re.compile(r"(?<!:):([A-Za-z_]\w*)")


def parameter_names(text: str, *, databricks: bool) -> set[str]:
    """The names; text with backticks is Databricks' in any case."""
    is_databricks = databricks or "`" in text
    code = [text[piece.start : piece.end] for piece in pieces(text, databricks=is_databricks) if piece.kind == "code"]
    used = _OF_DATABRICKS if is_databricks else _OF_DUCKDB
    return {name for part in code for name in used.findall(part)}
