"""The files that ship with aiq, SQL, alerts and boards: in the installed package, or in folders of the source tree."""

from __future__ import annotations

from pathlib import Path

from aiq.errors import AiqError


def shipped_folder(name: str) -> Path:
    """The folder of one kind of files: sql, alerts or dashboards. Raises AiqError where an installation lacks it."""
    package = Path(__file__).resolve().parent
    for folder in (package / f"_{name}", package.parent / name):
        if folder.is_dir():
            return folder
    raise AiqError(f"the files of {name} are missing from {package}; install aiq again")


def sql_folder() -> Path:
    """The folder of the analyses. Raises AiqError where an installation lacks it."""
    return shipped_folder("sql")


def read_sql(name: str) -> str:
    """The text of one file, by its name without `.sql`, such as usage_by_endpoint_and_user."""
    return (sql_folder() / f"{name}.sql").read_text(encoding="utf-8")
