"""What the shell does with a line: runs its statements, or a command that begins with a dot. Knows no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aiq.amounts import seconds
from aiq.cli.formats import Format
from aiq.cli.output import Receipts, show_one
from aiq.cli.printable import printable
from aiq.errors import AiqError, StatementCancelled
from aiq.sql.script import split

if TYPE_CHECKING:
    from aiq.engines.duckdb.session import DuckDBSession

_NAMES = (
    "SELECT DISTINCT name FROM (SELECT table_name AS name FROM duckdb_tables() WHERE NOT internal "
    "UNION ALL SELECT view_name FROM duckdb_views() WHERE NOT internal "
    "UNION ALL SELECT column_name FROM duckdb_columns() WHERE NOT internal "
    "UNION ALL SELECT function_name FROM duckdb_functions() WHERE regexp_matches(function_name, '^[a-z][a-z0-9_]*$')) "
    "WHERE NOT starts_with(name, '__aiq') ORDER BY name"
)
_TABLES = (
    "SELECT table_name AS \"table\", 'table' AS kind, estimated_size AS rows FROM duckdb_tables() WHERE NOT internal "
    "AND NOT temporary UNION ALL SELECT view_name, 'view', NULL FROM duckdb_views() WHERE NOT internal "
    "AND NOT temporary ORDER BY 1"
)
_SCHEMA = (
    "SELECT sql FROM (SELECT table_name AS name, sql FROM duckdb_tables() WHERE NOT internal AND NOT temporary "
    "UNION ALL SELECT view_name, sql FROM duckdb_views() WHERE NOT internal AND NOT temporary) "
    "WHERE $name IS NULL OR lower(name) = lower($name) ORDER BY name"
)


class Shell:
    """One session at a terminal. Errors are shown, and it goes on."""

    def __init__(self, session: DuckDBSession, *, databricks: bool = False) -> None:
        self._session, self.databricks = session, databricks
        self._timer, self._format, self._explain = False, Format.table, False
        self._names: list[str] | None = None
        self._receipts = Receipts(session)

    def run(self, text: str) -> bool:
        """Runs what was typed. False where the shell is to be left."""
        explain, self._explain = self._explain, False
        words = text.strip()
        if words.startswith("."):
            name, _, argument = words.partition(" ")
            return self._command(name.lower(), argument.strip().rstrip(";").strip())
        self._guarded(lambda: self._statements(text, explain=explain))
        return True

    def explain_next(self) -> None:
        """What is run next is explained, not asked."""
        self._explain = True

    def endpoints(self) -> list[str]:
        """The names of the endpoints."""
        return sorted(self._session.gateway.config.endpoints)

    def names(self) -> list[str]:
        """Tables, columns and functions, as they were after the last statement."""
        if self._names is None:
            import duckdb

            try:
                self._names = [name for (name,) in self._session.con.execute(_NAMES).fetchall()]
            except duckdb.Error:  # in a transaction that an error has ended
                return []
        return self._names

    def _statements(self, text: str, *, explain: bool) -> None:
        for statement in split(text, "databricks" if self.databricks else "duckdb"):
            started = time.monotonic()
            rows = self._session.sql(f"EXPLAIN AI {statement}" if explain else statement)
            self._names = None
            if rows is not None:
                show_one(rows, self._format)
            self._receipts.show()
            if self._timer:
                print(f"took {seconds(time.monotonic() - started)}")

    def _guarded(self, work: Callable[[], object]) -> None:
        """Does something, and shows what goes wrong. A bug of ours keeps its traceback."""
        import duckdb

        try:
            work()
        except (KeyboardInterrupt, StatementCancelled) as stop:
            print(printable(str(stop) or "stopped"))
        except (AiqError, OSError, UnicodeDecodeError, duckdb.Error) as error:
            print(printable(f"error: {error}"))
        finally:
            self._receipts.show()

    def _command(self, name: str, argument: str) -> bool:
        if name in (".quit", ".exit"):
            return False
        command = COMMANDS.get(name)
        if command is None:
            print(f"there is no command {name}; .help shows those that there are")
        else:
            self._guarded(lambda: command[0](self, argument))
        return True

    def tables(self, _: str) -> None:
        show_one(self._session.con.sql(_TABLES), Format.table)

    def schema(self, name: str) -> None:
        found = self._session.con.execute(_SCHEMA, {"name": name or None}).fetchall()
        print("\n".join(printable(sql) for (sql,) in found) or f"there is no table {name}".rstrip())

    def show_endpoints(self, _: str) -> None:
        from aiq.cli.show import console, grid

        rows = [
            [each.name, each.task, ", ".join(f"{entity.provider}/{entity.model}" for entity in each.entities)]
            for each in self._session.gateway.config.endpoints.values()
        ]
        console().print(
            grid(["endpoint", "task", "models"], [False] * 3, rows) if rows else "none; `aiq init` makes one"
        )

    def timer(self, argument: str) -> None:
        if argument not in ("on", "off", ""):
            print(".timer takes on or off")
            return
        self._timer = argument == "on" if argument else not self._timer
        print(f"the timer is {'on' if self._timer else 'off'}")

    def mode(self, argument: str) -> None:
        shown = [each.value for each in Format if each is not Format.parquet]
        if argument in shown:
            self._format = Format(argument)
        elif argument:
            print(f"there is no mode {argument}; there are {', '.join(shown)}")
        else:
            print(f"{self._format.value}; there are {', '.join(shown)}")

    def read(self, argument: str) -> None:
        if not argument:
            print(".read takes a file: .read pipeline.sql")
            return
        self._statements(Path(argument).expanduser().read_text("utf-8-sig"), explain=False)

    def help(self, _: str) -> None:
        for name, (_command, words) in COMMANDS.items():
            print(f"{name:<20} {words}")
        print(f"{'.quit, Ctrl-D':<20} leaves")
        print(f"{'F2':<20} explains the statement at the prompt: EXPLAIN AI, which asks nothing")
        print(f"{'Escape, then Enter':<20} runs what is there though no semicolon ends it")


COMMANDS: dict[str, tuple[Callable[[Shell, str], None], str]] = {
    ".tables": (Shell.tables, "tables and views"),
    ".schema": (Shell.schema, "how they were made; .schema NAME: one of them"),
    ".endpoints": (Shell.show_endpoints, "what ai_query can ask"),
    ".timer": (Shell.timer, "on or off: how long each statement takes"),
    ".mode": (Shell.mode, "how rows are shown: table, box, markdown, line, json, jsonl, csv"),
    ".read": (Shell.read, "FILE: runs its statements"),
    ".help": (Shell.help, "this"),
}
