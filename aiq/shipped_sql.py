"""The SQL files that ship with aiq: in the installed package, or in the source tree's sql/ folder."""

from __future__ import annotations

from pathlib import Path

from aiq.errors import AiqError


def sql_folder() -> Path:
    """The folder of the files. Raises AiqError where an installation lacks it."""
    package = Path(__file__).resolve().parent
    for folder in (package / "_sql", package.parent / "sql"):
        if folder.is_dir():
            return folder
    raise AiqError(f"the SQL files are missing from {package}; install aiq again")


def read_sql(name: str) -> str:
    """The text of one file, by its name without `.sql`, such as usage_by_endpoint_and_user."""
    return (sql_folder() / f"{name}.sql").read_text(encoding="utf-8")
