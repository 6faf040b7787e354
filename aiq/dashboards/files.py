"""Where boards are: files, folders, and by their names those that ship with aiq."""

from __future__ import annotations

from pathlib import Path

from aiq.config.nearest import nearest
from aiq.dashboards.model import Board
from aiq.dashboards.read import SUFFIX, read_board
from aiq.errors import AiqError
from aiq.shipped_sql import shipped_folder


def shipped() -> list[Path]:
    """The boards that ship. Raises AiqError where an installation lacks them."""
    return boards_in(shipped_folder("dashboards"))


def boards_in(folder: Path) -> list[Path]:
    """The board files of a folder, by name."""
    return sorted(each for each in folder.glob(f"*{SUFFIX}") if each.is_file())


def name_of(file: Path) -> str:
    """A board's name: that of its file without the suffix."""
    return file.name.removesuffix(SUFFIX).removesuffix(".json")


def find(given: str) -> Path:
    """The file of a board: a path, or the name of one that ships. Raises AiqError for neither."""
    path = Path(given).expanduser()
    if path.is_file():
        return path
    known = {name_of(each): each for each in shipped()}
    if given in known:
        return known[given]
    if path.is_dir():
        raise AiqError(f"{given} is a folder; name one of its boards, or serve it with `aiq dashboard serve {given}`")
    raise AiqError(
        f"there is no file and no board {given}.{nearest(given, known)} Boards that ship: {', '.join(known) or 'none'}"
    )


def load(file: Path) -> Board:
    """Reads a board's file. Raises AiqError."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise AiqError(f"{file} is no dashboard: it is not text in UTF-8") from None
    except OSError as error:
        raise AiqError(f"{file} cannot be read: {error.strerror or error}") from None
    return read_board(text, name_of(file))
