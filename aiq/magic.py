"""`%load_ext aiq`: the cell magic `%%ai_sql` of IPython and Jupyter.

    %%ai_sql --to answers --max-cost 1
    SELECT id, ai_query('chat', body) AS answer FROM reviews WHERE id < $most

Statements run in the notebook's own session, or one that is opened for it; parameters are the notebook's variables.
"""

from __future__ import annotations

import argparse
import html
import shlex
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from aiq.errors import StatementError, plain_in_notebooks
from aiq.sql.parameters import parameter_names
from aiq.sql.script import split
from aiq.statements.receipt import Receipt
from aiq.statements.session import Session

ROWS_SHOWN = 50
LONGEST = 300
"""Characters of a value that are shown."""
_PLAIN = (bool, int, float, str, bytes, Decimal, date, datetime, time, timedelta, type(None))
_NUMBERS = (int, float, Decimal)
_RUN = compile("__aiq_run()", "<aiq cell>", "eval")
_STYLE = "text-align:{};white-space:pre-wrap;vertical-align:top"


class CellResult:
    """The rows of a cell's last statement: `rows` is the relation or data frame, `receipt` what it took."""

    def __init__(self, rows: Any, receipt: Receipt | None) -> None:
        self.rows, self.receipt = rows, receipt

    def _repr_html_(self) -> str:
        names, values, more = _shown(self.rows)
        head = "".join(f'<th style="text-align:left">{html.escape(name)}</th>' for name in names)
        body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in values)
        under = [f"the first {ROWS_SHOWN} rows"] if more else []
        under += [] if self.receipt is None else [str(self.receipt)]
        lines = "".join(f'<div style="color:gray">{html.escape(line)}</div>' for line in under)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{lines}"

    def __repr__(self) -> str:
        names, values, more = _shown(self.rows)
        lines = ["\t".join(names), *("\t".join(map(_text, row)) for row in values)]
        lines += [f"(the first {ROWS_SHOWN} rows)"] if more else []
        return "\n".join(lines + ([] if self.receipt is None else [str(self.receipt)]))


def load(shell: Any) -> None:
    """Makes `%%ai_sql` known to an IPython shell."""
    magic = _Magic(shell)
    shell.register_magic_function(magic.run, "cell", "ai_sql")


class _Magic:
    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._own: dict[str | None, Session[Any]] = {}
        """Sessions that were opened here, by their database."""

    def run(self, line: str, cell: str) -> CellResult | None:
        """Runs the statements of a cell, one after the other, and gives the rows of the last one that has any.

        Raises what the session raises; of an error of the engine a notebook shows the message alone.
        """
        try:
            return self._run(cell, _options(line))
        except Exception as error:
            if hasattr(error, "_render_traceback_"):
                raise
            raise plain_in_notebooks(error) from None

    def _run(self, cell: str, options: argparse.Namespace) -> CellResult | None:
        session = self._session(options)
        is_databricks = options.dialect == "databricks" or not hasattr(session, "con")
        statements = split(cell, "databricks" if is_databricks else "duckdb")
        if not statements:
            raise StatementError("the cell has no statement")
        values = [self._values(text, is_databricks) for text in statements]  # before any of them is paid
        shown: CellResult | None = None
        before, say = session.settings, session.say
        said: list[str] = []
        session.say = said.append
        if options.max_cost is not None:
            session.settings = before._replace(max_cost_usd=options.max_cost)
        try:
            for text, params in zip(statements, values, strict=True):
                rows = self._rows(session, text, params, options)
                if rows is not None:
                    shown = CellResult(rows, None if options.explain else getattr(rows, "receipt", None))
            if shown is not None and shown.receipt is not None and options.to is None:
                said = [each for each in said if each != str(shown.receipt)]  # it stands under the rows
        finally:
            session.say = say
            if options.max_cost is not None:
                session.settings = session.settings._replace(max_cost_usd=before.max_cost_usd)
            for each in said:
                say(each)
        if options.to is None or shown is None:
            return shown
        self._shell.user_ns[options.to] = _frame(shown.rows)
        return None

    def _rows(self, session: Session[Any], text: str, params: Mapping[str, Any], options: argparse.Namespace) -> Any:
        """Runs one statement in a frame that sees the notebook's variables, of which some may be tables."""
        run = session.explain if options.explain else session.sql
        return eval(
            _RUN, self._shell.user_ns, {"__aiq_run": lambda: run(text, params or None, dialect=options.dialect)}
        )

    def _session(self, options: argparse.Namespace) -> Session[Any]:
        from aiq.engines.connect import connect

        space = self._shell.user_ns
        if options.session is not None:
            given = space.get(options.session)
            if not isinstance(given, Session):
                raise StatementError(f"the notebook has no session {options.session}; make one: aiq.connect(...)")
            return given
        if options.db is None and isinstance(space.get("session"), Session):
            own: Session[Any] = space["session"]
            return own
        if options.db not in self._own:
            self._own[options.db] = connect(options.db)
        space.setdefault("session", self._own[options.db])
        return self._own[options.db]

    def _values(self, text: str, is_databricks: bool) -> dict[str, Any]:
        """The notebook's variables that a statement names as parameters. Raises StatementError."""
        space = self._shell.user_ns
        return {
            name: _value(name, space[name])
            for name in sorted(parameter_names(text, databricks=is_databricks))
            if name in space
        }


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise StatementError(
            f"%%ai_sql: {message}; it takes --to NAME, --explain, --dialect, --max-cost, --db, --session"
        )


def _options(line: str) -> argparse.Namespace:
    parser = _Parser(prog="%%ai_sql", add_help=False, allow_abbrev=False)
    parser.add_argument("--to")
    parser.add_argument("--explain", action="store_true")
    parser.add_argument("--dialect", choices=("duckdb", "databricks"))
    parser.add_argument("--max-cost", type=float)
    parser.add_argument("--db")
    parser.add_argument("--session")
    try:
        options = parser.parse_args(shlex.split(line))
    except ValueError as error:
        raise StatementError(f"%%ai_sql: {error}") from None
    if options.to is not None and not options.to.isidentifier():
        raise StatementError(f"%%ai_sql: --to takes the name of a variable, not {options.to}")
    if options.max_cost is not None and not 0 < options.max_cost < float("inf"):
        raise StatementError("%%ai_sql: --max-cost is a positive number of US dollars")
    return options


def _value(name: str, value: Any) -> Any:
    """A variable as a parameter: a plain value, or a list of them."""
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():  # a number of numpy
        value = item()
    if isinstance(value, list | tuple) and all(isinstance(each, _PLAIN) for each in value):
        return list(value)
    if not isinstance(value, _PLAIN):
        raise StatementError(
            f"the variable {name} is a {type(value).__name__}, which is no value of a parameter; a data frame is named "
            "in FROM, without a sign before it"
        )
    return value


def _frame(rows: Any) -> Any:
    """Rows as a variable: a pandas frame of DuckDB's, Spark's data frame as it is."""
    if not hasattr(rows, "df"):
        return rows
    try:
        return rows.df()
    except ImportError:
        raise StatementError(
            "--to makes a pandas frame, and pandas is not installed: pip install 'aiq[pandas]'"
        ) from None


def _shown(rows: Any) -> tuple[list[str], list[tuple[Any, ...]], bool]:
    """Names, the first rows, and whether there are more."""
    limited = rows.limit(ROWS_SHOWN + 1)
    found = limited.fetchall() if hasattr(limited, "fetchall") else [tuple(row) for row in limited.collect()]
    return list(rows.columns), found[:ROWS_SHOWN], len(found) > ROWS_SHOWN


def _cell(value: Any) -> str:
    is_number = isinstance(value, _NUMBERS) and not isinstance(value, bool)
    style = _STYLE.format("right" if is_number else "left")
    shade = ";color:gray" if value is None else ""
    return f'<td style="{style}{shade}">{html.escape(_text(value))}</td>'


def _text(value: Any) -> str:
    text = "NULL" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
