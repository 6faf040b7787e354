"""Readings of files in a Databricks statement, and what hides `_metadata` from its stars."""

from __future__ import annotations

from typing import Any

import pytest

from aiq.sql.notebook.files import Files, with_files, without_hidden

FILES = "read_files('/data', format => 'text')"
HIDDEN = " EXCEPT (_metadata)"


def _read(text: str) -> str:
    def value(name: str) -> Any:
        raise KeyError(name)

    def read(files: Files) -> str:
        return "f" if files.metadata else "plain"

    return with_files(text, {}, value, read)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        (f"SELECT * FROM {FILES}", "SELECT * FROM plain"),
        (f"SELECT *, '_metadata' AS m FROM {FILES}", "SELECT *, '_metadata' AS m FROM plain"),
        (f"SELECT *, _metadata.file_name FROM {FILES}", f"SELECT *{HIDDEN}, _metadata.file_name FROM f"),
        (f"SELECT DISTINCT t.* FROM {FILES} t WHERE _metadata.file_size * 2 > 1",
         f"SELECT DISTINCT t.*{HIDDEN} FROM f t WHERE _metadata.file_size * 2 > 1"),
        (f"SELECT * EXCEPT (a), _metadata FROM {FILES}", "SELECT * EXCEPT (_metadata, a), _metadata FROM f"),
        (f"SELECT count(*), 2 * 3, _metadata.file_name FROM {FILES} GROUP BY ALL",
         "SELECT count(*), 2 * 3, _metadata.file_name FROM f GROUP BY ALL"),
        (f"SELECT t.*, f.*, _metadata.file_name FROM t JOIN {FILES} AS f ON true",
         f"SELECT t.*, f.*{HIDDEN}, _metadata.file_name FROM t JOIN f AS f ON true"),
        (f"SELECT to_json(struct(*)), count(*), 2 * (3), _metadata FROM STREAM({FILES}) f",
         f"SELECT to_json(struct(*{HIDDEN})), count(*), 2 * (3), _metadata FROM f f"),
        (f"SELECT (SELECT max(a) FROM (SELECT * FROM u)), read_files.*, _metadata FROM {FILES}",
         f"SELECT (SELECT max(a) FROM (SELECT * FROM u)), read_files.*{HIDDEN}, _metadata FROM f"),
        (f"SELECT * FROM (SELECT *, _metadata.file_name n FROM STREAM({FILES}))",
         f"SELECT * FROM (SELECT *{HIDDEN}, _metadata.file_name n FROM f)"),
        (f"WITH a AS (SELECT *, _metadata FROM {FILES}), b AS (SELECT * FROM {FILES}) SELECT * FROM a, b",
         f"WITH a AS (SELECT *{HIDDEN}, _metadata FROM f), b AS (SELECT *{HIDDEN} FROM f) SELECT * FROM a, b"),
    ],
)  # fmt: skip
def test_stars_leave_out_what_is_hidden_where_files_are_read(text: str, made: str) -> None:
    assert _read(text) == made


def test_a_star_is_not_told_twice() -> None:
    once = without_hidden(f"SELECT *, _metadata.file_name FROM {FILES}")
    assert without_hidden(once) == once == f"SELECT *{HIDDEN}, _metadata.file_name FROM {FILES}"
