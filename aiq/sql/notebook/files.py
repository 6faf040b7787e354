"""Files that a Databricks statement reads: `read_files('/Volumes/..', ..)` and tables such as csv.`/Volumes/..`.

Finds them in the text and reads their options; how an engine reads such files is its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from glob import glob
from typing import Any, NamedTuple

from aiq.errors import StatementError
from aiq.sql import calls
from aiq.sql.notebook.names import closing, constant_text

FORMATS = ("binaryFile", "text", "csv", "json", "parquet")
_BY_LOWER = {name.lower(): name for name in FORMATS}
_SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet", ".txt": "text"}
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "binaryFile": (),
    "text": ("wholetext",),
    "csv": ("header", "sep", "delimiter", "schema", "inferschema", "multiline"),
    "json": ("schema", "multiline"),
    "parquet": (),
}
"""What of each format's options is known here. Others are refused: they could change what is read."""
_ANY = ("format", "filenamepattern", "pathglobfilter", "recursivefilelookup", "fileglobfilter", "rescueddatacolumn")


class Files(NamedTuple):
    """Files to read: `path` is one of this machine, `shown` how the statement calls the same place.

    `suffix` is a pattern of file names; `options` are by name, in lower case. `rescued`: whether Databricks adds the
    column `_rescued_data`.
    """

    path: str
    shown: str
    format: str
    options: Mapping[str, Any]
    pattern: str | None = None
    rescued: bool = False

    @property
    def is_folder(self) -> bool:
        return os.path.isdir(self.path)


def with_files(text: str, volumes: Mapping[str, str], value: Callable[[str], Any], read: Callable[[Files], str]) -> str:
    """A Databricks statement with what `read` gives in the place of each reading of files.

    `volumes` leads from a prefix such as /Volumes/main/docs/raw to a folder. Raises StatementError for a volume that
    leads nowhere, an option that is not known, and a format that is not read here.
    """
    lower = text.lower()
    if "read_files" not in lower and "`" not in text:
        return text
    tokens = calls.tokenize(text, "databricks")
    replaced: list[tuple[int, int, str]] = []
    for i, token in enumerate(tokens):
        name = token.text.lower()
        if name == "read_files" and i + 1 < len(tokens) and tokens[i + 1].token_type.name == "L_PAREN":
            if i and tokens[i - 1].text == "=>":
                raise StatementError(
                    "read_files gives rows, and an argument takes one value; read the files in FROM: "
                    "SELECT ai_query(.., files => content) FROM read_files('/Volumes/..', format => 'binaryFile')"
                )
            end = closing(tokens, i + 1)
            start, stop = token.start, tokens[end].end + 1
            if i >= 2 and tokens[i - 1].text == "(" and tokens[i - 2].text.lower() == "stream":
                start, stop = tokens[i - 2].start, tokens[closing(tokens, i - 1)].end + 1
            elif i and tokens[i - 1].text.lower() == "stream":
                start = tokens[i - 1].start
            replaced.append((start, stop, read(_of_call(text[token.start : tokens[end].end + 1], volumes, value))))
        elif (
            name in _BY_LOWER
            and i + 2 < len(tokens)
            and tokens[i + 1].token_type.name == "DOT"
            and tokens[i + 2].token_type.name == "IDENTIFIER"
            and i
            and tokens[i - 1].text.lower() in ("from", "join", ",")
            and ("/" in tokens[i + 2].text)
        ):
            shown = tokens[i + 2].text
            files = Files(local(shown, volumes), shown, _BY_LOWER[name], {})
            replaced.append((token.start, tokens[i + 2].end + 1, read(files)))
    return calls.replace(text, replaced)


def local(path: str, volumes: Mapping[str, str]) -> str:
    """Where a path of a statement lies on this machine. Raises StatementError for a volume that is not configured."""
    plain = path.removeprefix("dbfs:").removeprefix("file:")
    if plain.startswith("//"):
        plain = "/" + plain.lstrip("/")
    for prefix, folder in sorted(volumes.items(), key=lambda item: -len(item[0])):
        start = prefix.rstrip("/")
        if plain == start or plain.startswith(start + "/"):
            rest = plain[len(start) :].lstrip("/")
            if ".." in rest.split("/"):
                raise StatementError(f"the path '{path}' leaves its volume; write it without '..'")
            return os.path.join(folder, rest) if rest else folder
    if plain.startswith("/Volumes/"):
        volume = "/".join(plain.split("/")[:5])
        raise StatementError(
            f"there is no volume {volume} here; say in conf/aiq.yml which folder it is: "
            f"volumes: {{{volume}: /a/folder}}"
        )
    if "://" in plain:
        return path
    return plain


def _of_call(text: str, volumes: Mapping[str, str], value: Callable[[str], Any]) -> Files:
    (call,) = calls.find_calls(text, calls.tokenize(text, "databricks"), lambda name: name.lower() == "read_files")
    options: dict[str, Any] = {}
    shown: str | None = None
    for argument in call.arguments:
        tokens = calls.tokenize(argument.text, "databricks")
        words = constant_text(argument.text, tokens, value)
        if argument.name is None or argument.name.lower() == "path":
            if words is None:
                raise StatementError(f"the path of read_files must be a text, but it is {argument.text}")
            shown = words
        else:
            word = argument.text.strip().lower()
            options[argument.name.lower()] = {"true": True, "false": False}.get(
                word, words if words is not None else word
            )
    if shown is None:
        raise StatementError("read_files needs a path: read_files('/Volumes/..', format => 'csv')")
    path = local(shown, volumes)
    return _checked(path, shown, options)


def _checked(path: str, shown: str, options: dict[str, Any]) -> Files:
    asked = str(options.get("format") or _SUFFIXES.get(os.path.splitext(path)[1].lower(), ""))
    kind = _BY_LOWER.get(asked.lower())
    if kind is None:
        raise StatementError(
            f"read_files reads {', '.join(FORMATS)} here, not {asked or 'a folder without a format'}; "
            "write format => 'csv'"
        )
    if options.get("recursivefilelookup", True) is not True:
        raise StatementError("read_files reads a folder with all folders below it; leave out recursiveFileLookup")
    for name in options:
        if name not in (*OPTIONS[kind], *_ANY):
            raise StatementError(
                f"the option {name} of read_files ({kind}) is not known here, and could change what is read; known: "
                f"{', '.join(OPTIONS[kind]) or 'none but format and fileNamePattern'}"
            )
    pattern = next(
        (str(options[name]) for name in ("filenamepattern", "pathglobfilter", "fileglobfilter") if name in options),
        None,
    )
    own = {name: options[name] for name in options if name in OPTIONS[kind]}
    rescued = kind in ("csv", "json") and "schema" not in own
    return Files(path, shown, kind, own, pattern, rescued)


def pattern(files: Files) -> str:
    """The files of a place as a pattern that both engines read. Raises StatementError where there is none."""
    place = files.path
    if files.is_folder:
        place = os.path.join(place, "**", files.pattern or "*")
    if "://" not in place and not any(map(os.path.isfile, glob(place, recursive=True))):
        raise StatementError(f"there is no file in '{files.shown}' ({place})")
    return place
