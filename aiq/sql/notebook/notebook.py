"""Reads a text as a Databricks notebook means it: magics, widgets, catalogs, volumes, fields of results.

One way for both engines; what only an engine knows, it is asked through `Place`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from aiq.config.endpoint import Settings
from aiq.sql import calls
from aiq.sql.literals import literal, places
from aiq.sql.notebook.fields import with_field_names
from aiq.sql.notebook.files import Files, reads_files, with_files
from aiq.sql.notebook.names import Databases, closing, with_catalogs, with_identifiers, with_use
from aiq.sql.notebook.variables import value_of, with_arguments, with_variables
from aiq.sql.text import clean

Parameters = Sequence[Any] | Mapping[str, Any] | None


class NotebookHost(Databases, Protocol):
    """What an engine knows of where a statement runs."""

    def setting(self, name: str) -> Any:
        """What `${name}` is for the engine itself. Raises KeyError where it is nothing."""
        ...

    def variable(self, name: str) -> Any:
        """The value of a variable that the session has declared. Raises KeyError where there is none."""
        ...

    def defines(self, text: str) -> bool:
        """Whether a statement makes a function, view or table whose text is kept as it is."""
        ...

    def files(self, files: Files) -> str:
        """The name under which a statement finds the rows of some files."""
        ...


class Text(NamedTuple):
    """A statement and the parameters that it still has."""

    text: str
    params: Parameters


def read(
    text: str,
    params: Parameters,
    *,
    databricks: bool,
    place: NotebookHost,
    settings: Settings,
    variables: Mapping[str, Any],
) -> Text:
    """A statement as the engine takes it. Raises StatementError; no call is made.

    `databricks` says in whose SQL it is written; then names and files are Databricks', too. `variables` are those of
    the caller.
    """
    text = clean(text, databricks=databricks)
    given = value_of(
        {**variables, **{str(k): v for k, v in params.items()}} if isinstance(params, Mapping) else variables
    )

    def value(name: str) -> Any:
        try:
            return given(name)
        except KeyError:
            return place.setting(name)

    text = with_variables(text, value, databricks=databricks)
    error_field = settings.error_field
    if not databricks:
        return Text(with_field_names(text, error_field=error_field, dialect="duckdb"), params)
    text = with_arguments(text, given, databricks=True)
    text, params = _with_parameters(text, params, variables)
    text = with_identifiers(text, place.variable)
    text = with_use(text, settings.catalogs, place)
    if reads_files(text) and not place.defines(text):  # else its text is kept as it is
        text = with_files(text, settings.volumes, place.variable, place.files)
    text = with_catalogs(text, settings.catalogs, place)
    return Text(with_field_names(text, error_field=error_field, dialect="databricks"), params)


def _with_parameters(text: str, params: Parameters, variables: Mapping[str, Any]) -> tuple[str, Parameters]:
    """`:name` as a literal where it is in `variables`, or stands where the engine takes none: in IDENTIFIER(:name)."""
    if ":" not in text or not (variables or isinstance(params, Mapping)):
        return text, params
    named = {str(name): value for name, value in params.items()} if isinstance(params, Mapping) else {}
    given = value_of(variables)
    tokens = calls.tokenize(text, "databricks")
    inside = _inside_identifier(tokens)
    replaced: list[tuple[int, int, str]] = []
    used: set[str] = set()
    kept: set[str] = set()
    for start, end, name in places(text, "databricks", named=True):
        if name in named:
            if any(first < start < last for first, last in inside):
                replaced.append((start, end, literal(named[name])))
                used.add(name)
            else:
                kept.add(name)
            continue
        try:
            replaced.append((start, end, literal(given(name))))
        except KeyError:
            continue
    if isinstance(params, Mapping) and used - kept:
        params = {name: value for name, value in params.items() if str(name) not in used - kept} or None
    return calls.replace(text, replaced), params


def _inside_identifier(tokens: Sequence[Any]) -> list[tuple[int, int]]:
    return [
        (token.start, tokens[closing(tokens, i + 1)].end)
        for i, token in enumerate(tokens[:-1])
        if token.text.lower() == "identifier" and tokens[i + 1].token_type.name == "L_PAREN"
    ]
