"""The demo's input: what the Python distributions installed here say of themselves. Real text, with its authors."""

from __future__ import annotations

from email.utils import parseaddr
from importlib.metadata import distributions
from typing import Any

import duckdb
import pyarrow as pa

SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("version", pa.string()),
        ("author", pa.string()),
        ("author_email", pa.string()),
        ("summary", pa.string()),
        ("description", pa.string()),
    ]
)

_MARKUP = "|".join(
    (
        r"(?m)!?\[!?\[?[^\]]*\][(\[][^)\]]*[)\]]+(\([^)]*\))?",  # Markdown's links and badges
        r"<[^>]*>",
        r"^\s*\.\. .*$",  # reStructuredText's directives
        r"^\s+:\w+:.*$",
        r"https?://\S+",
        r"[=~#*`|_-]{2,}|\|",
    )
)


def installed(rows: int | None) -> pa.Table:
    """Name, version, author, author_email, summary and description of the distributions, the longest texts first.

    At most `rows` of them; only those with a description.
    """
    found: dict[str, dict[str, Any]] = {}
    for distribution in distributions():
        metadata = distribution.metadata
        fields = {name: metadata[name] for name in set(metadata)}
        description = fields.get("Description") or metadata.json.get("description")
        if not fields.get("Name") or not isinstance(description, str) or len(description) < 200:
            continue
        name, address = parseaddr(fields.get("Author-email") or "")
        found[fields["Name"].lower()] = {
            "name": fields["Name"],
            "version": fields["Version"],
            "author": fields.get("Author") or name or None,
            "author_email": address or None,
            "summary": (fields.get("Summary") or "").rstrip(". ") or fields["Name"],
            "description": _clean(description),
        }
    packages = sorted(found.values(), key=lambda row: (-len(row["description"]), row["name"]))
    return pa.Table.from_pylist(packages[:rows], SCHEMA)


def load(con: duckdb.DuckDBPyConnection, rows: int | None, characters: int) -> tuple[int, int]:
    """Makes the table `packages` and the view `texts`, whose texts have at most so many characters of a description.

    Returns the number of packages and of their words.
    """
    table = installed(rows)
    con.register("installed_packages", table)
    con.execute("CREATE OR REPLACE TABLE packages AS FROM installed_packages")
    con.unregister("installed_packages")
    con.execute(_texts(characters))
    return len(table), sum(len(text.split()) for text in table.column("description").to_pylist())


def _clean(text: str) -> str:
    """Metadata files are not always UTF-8; what could not be decoded came as lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def _texts(characters: int) -> str:
    """The view of what is asked about, without badges, links and markup, which cost tokens and say nothing."""
    plain = f"trim(regexp_replace(regexp_replace(description, '{_MARKUP}', ' ', 'g'), '\\s+', ' ', 'g'))"
    return f"""\
CREATE OR REPLACE VIEW texts AS
SELECT name, name || ': ' || summary || '. ' || left({plain}, {characters}) AS text FROM packages"""
