"""How DuckDB reads the files of a Databricks statement, with the columns that Databricks gives them."""

from __future__ import annotations

import os

import pyarrow as pa

from aiq.functions.types import duckdb_type, parse_type
from aiq.sql.notebook.files import METADATA, METADATA_FIELDS, Files, pattern


def query(files: Files) -> str:
    """A query of DuckDB that gives the rows of some files.

    `read_files('/Volumes/a/b/c/x', format => 'text')` is `SELECT unnest(..) AS value FROM read_text('/data/x/**')`.
    Raises StatementError where there is no such file.
    """
    place = _text(pattern(files))
    known = f", {_metadata(files)} AS {METADATA}" if files.metadata else ""
    if files.format == "binaryFile":
        return (
            f'SELECT {_shown(files)} AS path, last_modified AS "modificationTime", size AS length, content{known} '
            f"FROM read_blob({place})"
        )
    if files.format == "text":
        if files.options.get("wholetext"):
            return f"SELECT content AS value{known} FROM read_text({place})"
        # A line end at the end of a file ends its last line, and begins none.
        lines = r"regexp_split_to_array(regexp_replace(content, '(\r\n|\r|\n)$', ''), '\r\n|\r|\n')"
        return f"SELECT unnest({lines}) AS value{known} FROM read_text({place}) WHERE content <> ''"
    rescued = ", NULL::VARCHAR AS _rescued_data" if files.rescued else ""
    if files.format == "csv":
        read = f"read_csv({place}, {_csv_options(files)}"
    elif files.format == "json":
        kind = "auto" if files.options.get("multiline") else "newline_delimited"
        read = f"read_json({place}, format = '{kind}'{_columns(files)}"
    else:
        read = f"read_parquet({place}"
    if not known:
        return f"SELECT *{rescued} FROM {read})"
    return (
        f"SELECT rows.* EXCLUDE (file_of_row){rescued}{known} FROM {read}, filename = 'file_of_row') AS rows "
        f"JOIN (SELECT filename, size, last_modified FROM read_blob({place})) AS files "
        "ON files.filename = rows.file_of_row"
    )


def _metadata(files: Files) -> str:
    """What is known of a row's file; DuckDB reads it as one block."""
    values = (
        _shown(files), "parse_filename(filename)", "size", "0::BIGINT", "size", "last_modified",
    )  # fmt: skip
    pairs = ", ".join(f"{name}: {value}" for name, value in zip(METADATA_FIELDS, values, strict=True))
    return f"{{{pairs}}}"


def _shown(files: Files) -> str:
    """The name of a file as Databricks shows it: of a volume with dbfs: before it."""
    if not files.shown.removeprefix("dbfs:").startswith("/Volumes/"):
        return "'file:' || filename"
    root = "/" + files.shown.removeprefix("dbfs:").strip("/")
    here = files.path.rstrip("/")
    while any(sign in here for sign in "*?[{"):
        root, here = os.path.dirname(root), os.path.dirname(here)
    return f"{_text('dbfs:' + root)} || substring(filename, {len(here) + 1})"


def _csv_options(files: Files) -> str:
    options = files.options
    separator = str(options.get("sep", options.get("delimiter", ",")))
    header = bool(options.get("header", False))
    said = [f"header = {str(header).lower()}", f"delim = {_text(separator)}", "quote = '\"'", "escape = '\"'"]
    if options.get("inferschema") is False:
        said.append("all_varchar = true")
    if not header and "schema" not in options:
        said.append("names = " + _text_list(_unnamed(files, separator)))
    return ", ".join(said) + _columns(files)


def _unnamed(files: Files, separator: str) -> list[str]:
    """Databricks' names of columns without a header: _c0, _c1, ..."""
    import duckdb

    options = f"header = false, delim = {_text(separator)}, quote = '\"', escape = '\"'"
    with duckdb.connect() as con:
        found = con.execute(f"DESCRIBE SELECT * FROM read_csv({_text(pattern(files))}, {options})").fetchall()
    return [f"_c{i}" for i in range(len(found))]


def _columns(files: Files) -> str:
    if "schema" not in files.options:
        return ""
    kind = parse_type(f"STRUCT<{files.options['schema']}>")
    assert pa.types.is_struct(kind)
    columns = ", ".join(f"{_text(field.name)}: {_text(duckdb_type(field.type))}" for field in kind)
    return f", columns = {{{columns}}}"


def _text(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"


def _text_list(names: list[str]) -> str:
    return f"[{', '.join(map(_text, names))}]"
