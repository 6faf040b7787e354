"""Files that a Databricks statement reads: `read_files('/Volumes/..', ..)` and tables such as csv.`/Volumes/..`.

Finds them in the text and reads their options; how an engine reads such files is its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from glob import glob
from typing import TYPE_CHECKING, Any, NamedTuple

from aiq.errors import StatementError
from aiq.sql import calls
from aiq.sql.notebook.names import closing, constant_text

if TYPE_CHECKING:
    from sqlglot import Token

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
METADATA = "_metadata"
"""The hidden column of files, and below the names of its fields."""
METADATA_FIELDS = (
    "file_path", "file_name", "file_size", "file_block_start", "file_block_length", "file_modification_time",
)  # fmt: skip
_ANY = ("format", "filenamepattern", "pathglobfilter", "recursivefilelookup", "fileglobfilter", "rescueddatacolumn")


class Files(NamedTuple):
    """Files to read: `path` is one of this machine, `shown` how the statement calls the same place.

    `pattern` is one of file names; `options` are by name, in lower case. `rescued`: whether Databricks adds the
    column `_rescued_data`. `metadata`: whether the statement reads the hidden column `_metadata`.
    """

    path: str
    shown: str
    format: str
    options: Mapping[str, Any]
    pattern: str | None = None
    rescued: bool = False
    metadata: bool = False

    @property
    def is_folder(self) -> bool:
        return os.path.isdir(self.path)


def reads_files(text: str) -> bool:
    """Whether a Databricks statement may read files."""
    return "read_files" in text.lower() or ("/" in text and ".`" in text)


def with_files(text: str, volumes: Mapping[str, str], value: Callable[[str], Any], read: Callable[[Files], str]) -> str:
    """A Databricks statement with what `read` gives in the place of each reading of files.

    `volumes` leads from a prefix such as /Volumes/main/docs/raw to a folder. Raises StatementError for a volume that
    leads nowhere, an option that is not known, and a format that is not read here.
    """
    if not reads_files(text):
        return text
    lower = text.lower()
    tokens = calls.tokenize(text, "databricks")
    replaced: list[tuple[int, int, str]] = []
    metadata = METADATA in lower and any(_is_metadata(token) for token in tokens)
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
            files = _of_call(text[token.start : tokens[end].end + 1], volumes, value)
            replaced.append((start, stop, read(files._replace(metadata=metadata))))
            replaced += _stars(tokens, i) if metadata else []
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
            files = Files(local(shown, volumes), shown, _BY_LOWER[name], {}, metadata=metadata)
            replaced += _stars(tokens, i) if metadata else []
            replaced.append((token.start, tokens[i + 2].end + 1, read(files)))
    return calls.replace(text, sorted(set(replaced)))


def reads_metadata(text: str) -> bool:
    """Whether a Databricks statement reads the hidden column `_metadata`."""
    return METADATA in text.lower() and any(_is_metadata(token) for token in calls.tokenize(text, "databricks"))


def without_hidden(text: str) -> str:
    """A query over files whose stars leave out `_metadata`, for a table that has it as a column of its own."""
    tokens = calls.tokenize(text, "databricks")
    places = [i for i, token in enumerate(tokens) if token.text.lower() == "read_files"]
    return calls.replace(text, sorted({star for i in places for star in _stars(tokens, i)}))


def _is_metadata(token: Token) -> bool:
    return token.text.lower() == METADATA and token.token_type.name in ("VAR", "IDENTIFIER")


def _stars(tokens: Sequence[Token], files: int) -> list[tuple[int, int, str]]:
    """The stars of the SELECT that reads files at a token, each with what leaves out `_metadata`."""
    select, depth = files, 0
    while select and not (depth == 0 and tokens[select].text.lower() == "select"):
        select -= 1
        kind = tokens[select].token_type.name
        depth += (kind == "R_PAREN") - (kind == "L_PAREN")
        if depth < 0:  # STREAM(read_files(..)) and a join in brackets
            depth = 0
    found, depth, named = [], 0, _name_of(tokens, files)
    for i in range(select + 1, files):
        kind, before = tokens[i].token_type.name, tokens[i - 1].text.lower()
        depth += (kind == "L_PAREN") - (kind == "R_PAREN")
        if kind != "STAR" or not _is_all(tokens, i, depth) or (before == "." and tokens[i - 2].text.lower() != named):
            continue
        if tokens[i + 1].text.lower() != "except":
            found.append((tokens[i].end + 1, tokens[i].end + 1, f" EXCEPT ({METADATA})"))
        elif not any(_is_metadata(token) for token in tokens[i + 2 : closing(tokens, i + 2)]):
            found.append((tokens[i + 2].end + 1, tokens[i + 2].end + 1, f"{METADATA}, "))
    return found


def _is_all(tokens: Sequence[Token], i: int, depth: int) -> bool:
    """Whether a star stands for all columns: as a column, or in a function such as `struct(*)`, but not `count(*)`."""
    before = tokens[i - 1].text.lower()
    if before in ("select", "distinct", "all"):
        return depth == 0
    return before in (",", ".") or (before == "(" and tokens[i - 2].text.lower() != "count")


def _name_of(tokens: Sequence[Token], files: int) -> str:
    """The name by which a SELECT knows the files that it reads at a token: their alias, or that of the function."""
    is_call = tokens[files].text.lower() == "read_files"
    end = closing(tokens, files + 1) if is_call else files + 2
    rest = [token for token in tokens[end + 1 : end + 4] if token.text != ")"]
    if rest and rest[0].text.lower() == "as":
        rest = rest[1:]
    is_name = bool(rest) and rest[0].token_type.name in ("VAR", "IDENTIFIER")
    return rest[0].text.lower() if is_name else tokens[end if not is_call else files].text.lower()


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
