"""A session: one connection, one identity, one configuration; runs statements whole.

`Session.sql` rewrites the AI calls of one statement, runs it at once, and returns a relation over finished rows.
"""

from __future__ import annotations

import getpass
import itertools
import os
import re
import warnings
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import duckdb

from aiq.batch.statement import Statement
from aiq.config.describe import nearest
from aiq.engines import duckdb as engine
from aiq.engines.interrupt import running, stopped_by_ctrl_c
from aiq.engines.open import open_gateway
from aiq.engines.progress import shown_progress
from aiq.errors import AiqError, FunctionError, LedgerError, StatementCancelled, StatementError
from aiq.functions.ai_query import CallSite, Options
from aiq.functions.signature import bind
from aiq.functions.types import ddl, infer_type_of_json
from aiq.gateway import Gateway
from aiq.ledger.records import PAYLOAD_SCHEMA, SYSTEM_TABLES
from aiq.ledger.tables import Tables
from aiq.plan import calls
from aiq.plan.dialect import expression_to_duckdb, to_duckdb
from aiq.request import Caller

Parameters = Sequence[Any] | Mapping[str, Any] | None

KEPT_RESULTS = 32
_numbers = itertools.count(1)
_SCHEMA_OF_JSON = re.compile(r"^\s*schema_of_json\s*\((.*)\)\s*$", re.IGNORECASE | re.DOTALL)
_DEFINITION = re.compile(
    r"^\s*(prepare\b|create\s+(or\s+replace\s+)?((temp|temporary|persistent)\s+)?(recursive\s+)?(view|macro|function)\b)",
    re.IGNORECASE,
)
_ANSWERING = {"EXPLAIN", "PRAGMA", "CALL", "EXECUTE"}
_OUR_FUNCTION = re.compile(r"__aiq_[0-9a-f]{12}\((\d+), ")
_RETURNING = re.compile(r"\breturning\b", re.IGNORECASE)


class Session:
    """Runs SQL with `ai_query` on a DuckDB connection. Not for use by several threads at once: open one for each."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        gateway: Gateway,
        caller: Caller,
        *,
        owns_connection: bool = False,
        dialect: str = "duckdb",
    ) -> None:
        self.con, self.gateway, self.caller = con, gateway, caller
        self._owns, self._dialect = owns_connection, dialect
        self._results: deque[tuple[str, weakref.ref[duckdb.DuckDBPyRelation]]] = deque()
        con.execute("SET python_scan_all_frames = true")  # data frames of the caller stay visible through our frames
        self._plain = engine.register_plain(con, gateway, caller)

    def sql(
        self, text: str, params: Parameters = None, *, dialect: str | None = None
    ) -> duckdb.DuckDBPyRelation | None:
        """Runs one statement at once and returns a relation over its finished rows, or None where it has none.

        `params` fill `?`, `$1` or `$name`. `dialect` "databricks" reads the whole text as Databricks SQL; text with
        backticks is read so in any case. Raises StatementError or FunctionError before any call, RequestFailed where
        a row failed under failOnError => true, StatementCancelled when stopped, and DuckDB's own errors.
        """
        statement = Statement(self.gateway, self.caller)
        with engine.numbered_sites() as number:
            sql, values, has_calls = self._prepare(text, params, dialect or self._dialect, statement, number)
            if not has_calls:
                return self._pass_through(sql, values)
            self.gateway.ledger.sync_entities(self.gateway.config.endpoints.values(), self.caller.user)
            try:
                with (
                    shown_progress(self, statement, sql),
                    stopped_by_ctrl_c(statement),
                    running(self.con, statement),
                    self._plain.within(statement),
                ):
                    return self._run(sql, values)
            except (duckdb.Error, RuntimeError) as error:
                raise self._explained(error, statement) from None
            finally:
                statement.cancel()
                self._commit()

    def close(self) -> None:
        """Commits the ledger and closes the connection, if this session opened it."""
        self._commit()
        if self._owns:
            self.con.close()

    def interrupt(self) -> None:
        """Stops the statement that another thread is running on this session."""
        self.con.interrupt()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<aiq session of {self.caller.user}, {len(self.gateway.config.endpoints)} endpoints>"

    def _prepare(
        self, text: str, params: Parameters, dialect: str, statement: Statement, number: Any
    ) -> tuple[str, dict[str, Any] | None, bool]:
        """The text as DuckDB runs it, the parameters it still uses, and whether it has AI calls."""
        _check_text(text, params)
        if dialect not in ("duckdb", "databricks"):
            raise StatementError(f"dialect must be 'duckdb' or 'databricks', not '{dialect}'")
        # Databricks' strings escape with a backslash, so its text is translated before anything reads it as DuckDB's.
        if dialect == "databricks":
            text = to_duckdb(text)
        tokens = calls.tokenize(text)
        if calls.has_backticks(tokens):
            text = to_duckdb(text)
            tokens = calls.tokenize(text)
        if calls.statements(text, tokens) > 1:
            raise StatementError("session.sql runs one statement; run the statements one by one")
        text, values = _named_parameters(text, tokens, params)
        text = self._with_ledger_tables(text)
        if _DEFINITION.match(
            text
        ):  # what is kept for later keeps its text; it runs as a plain function where it is used
            return text, values, False
        found = False

        def compile_call(call: calls.Call) -> str:
            nonlocal found
            found = True
            compiled = self._compile(call, values or {}, statement, number)
            return f"{compiled} AS {_quoted(call.text)}" if call.is_column else compiled

        text = calls.rewrite_calls(text, compile_call)
        return text, values, found or engine.calls_by_name(self.con, text)

    def _compile(self, call: calls.Call, values: dict[str, Any], statement: Statement, number: Any) -> str:
        """One call as a call of the UDF of its result type."""
        bound = bind([(a.name, expression_to_duckdb(a.text, calls.tokenize(a.text))) for a in call.arguments])

        def constant(name: str) -> Any:
            expression = bound.get(name)
            return None if expression is None else engine.constant(self.con, expression, values, name)

        endpoint = constant("endpoint")
        if not isinstance(endpoint, str):
            raise FunctionError("NON_FOLDABLE_ARGUMENT", "endpoint must be a STRING literal, the name of an endpoint.")
        fail_on_error = constant("failOnError")
        if not isinstance(fail_on_error, bool | None):
            raise FunctionError("DATATYPE_MISMATCH", f"failOnError must be a BOOLEAN, not {fail_on_error!r}.")
        parameters = constant("modelParameters")
        if not isinstance(parameters, dict | None):
            raise FunctionError(
                "DATATYPE_MISMATCH",
                "modelParameters must be a STRUCT: named_struct('temperature', 0.0, ...).",
            )
        options = Options(
            self._type_text(bound.get("returnType"), "returnType", values),
            fail_on_error is not False,
            parameters,
            self._type_text(bound.get("responseFormat"), "responseFormat", values),
        )
        site = CallSite(
            self.gateway.open_endpoint(endpoint), options, error_field=self.gateway.config.settings.error_field
        )
        function = engine.function_for(self.con, site.type)
        columns = [str(number(statement, site)), bound["request"]]
        if "files" in bound:
            columns.append(bound["files"])
        return f"{function}({', '.join(columns)})"

    def _type_text(self, expression: str | None, name: str, values: dict[str, Any]) -> str | None:
        """A DDL text: a constant STRING, or `schema_of_json('...')` of one."""
        if expression is None:
            return None
        sample = _SCHEMA_OF_JSON.match(expression)
        value = engine.constant(self.con, sample.group(1) if sample else expression, values, name)
        if value is not None and not isinstance(value, str):
            raise FunctionError("DATATYPE_MISMATCH", f"{name} must be a STRING, not {value!r}.")
        return ddl(infer_type_of_json(value)) if sample and value is not None else value

    def _with_ledger_tables(self, text: str) -> str:
        """The ledger's tables by their three-part names, as fresh as the last finished statement."""
        ledger = self.gateway.ledger
        tables = Tables(ledger.home)
        known = {name: PAYLOAD_SCHEMA for name in self._payload_tables()} | SYSTEM_TABLES
        names = {*known, *tables.names()}
        tokens = calls.tokenize(text)
        if unknown := calls.find_unknown_tables(tokens, names):
            raise StatementError(f"there is no table {unknown[0]}.{nearest(unknown[0], names)}")
        found = calls.find_tables(tokens, names)
        if found:
            self._commit()
        written = set(tables.names())
        replacements = {
            name: engine.attach_ledger(self.con, name, tables if name in written else known[name].empty_table())
            for name in {name for _, _, name in found}
        }
        return calls.replace(text, [(start, end, replacements[name]) for start, end, name in found])

    def _payload_tables(self) -> set[str]:
        """Inference tables of the configured endpoints; readable, though empty, before the first call."""
        return {e.inference_table for e in self.gateway.config.endpoints.values() if e.inference_table}

    def _pass_through(self, sql: str, values: dict[str, Any] | None) -> duckdb.DuckDBPyRelation | None:
        return self.con.sql(sql, params=_used(self.con, sql, values))

    def _run(self, sql: str, values: dict[str, Any] | None) -> duckdb.DuckDBPyRelation | None:
        parsed = self.con.extract_statements(sql)
        used = _used(self.con, sql, values)
        self._drop_unused()
        if len(parsed) == 1 and parsed[0].type.name == "SELECT":
            name = f"aiq_result_{next(_numbers)}"
            self.con.execute(f"CREATE TEMP TABLE {name} AS {sql.strip().rstrip(';')}", used).fetchall()
            self._rename_columns(name)
            result = self.con.table(f"temp.{name}")
            self._results.append((name, weakref.ref(result)))
            return result
        rows = engine.run(self.con, sql, used)
        answers = parsed[0].type.name in _ANSWERING or _RETURNING.search(sql) is not None
        return self.con.from_arrow(rows) if answers else None

    def _rename_columns(self, table: str) -> None:
        """Columns that DuckDB named after our functions get the name they would have without us."""
        for column in self.con.table(f"temp.{table}").columns:
            if "__aiq_" in column or "$aiq_" in column:
                own = _OUR_FUNCTION.sub(engine.written_as, column).replace("$aiq_", "$")
                self.con.execute(
                    f"ALTER TABLE temp.{table} RENAME COLUMN {_quoted(column)} TO {_quoted(own)}"
                ).fetchall()

    def _drop_unused(self) -> None:
        """Drops the rows of results that nobody holds, but of the last few, which something may be built on.

        A table is dropped before a statement, never in the middle of one that is running.
        """
        with suppress(duckdb.TransactionException):  # an aborted transaction takes no statement; the next one will
            for _ in range(len(self._results) - KEPT_RESULTS):
                name, relation = self._results.popleft()
                if relation() is not None:
                    self._results.append((name, relation))
                    continue
                self.con.execute(f"DROP TABLE IF EXISTS temp.{name}").fetchall()

    def _commit(self) -> None:
        """A table that cannot be written must not cost the statement its answers: its rows wait in the spool."""
        try:
            self.gateway.ledger.commit()
        except LedgerError as error:
            warnings.warn(f"{error} (rows of the ledger wait in {self.gateway.ledger.home}/spool)", stacklevel=3)

    def _explained(self, error: Exception, statement: Statement) -> BaseException:
        """Our own error, where DuckDB only passes on its words."""
        if statement.error is not None:
            return statement.error
        if isinstance(error, duckdb.InterruptException) or statement.stopped:
            return StatementCancelled("the statement was interrupted; answers already paid for are in the ledger")
        return error


def connect(
    target: str | os.PathLike[str] | duckdb.DuckDBPyConnection | None = None,
    *,
    conf: str | os.PathLike[str] | None = None,
    home: str | os.PathLike[str] | None = None,
    user: str | None = None,
    groups: Sequence[str] | None = None,
    usage_context: Mapping[str, str] | None = None,
    dialect: str = "duckdb",
) -> Session:
    """A session on a DuckDB file, a DuckDB connection, or (None) a database in memory.

    `conf` and `home` default to `$AIQ_CONF`, `$AIQ_HOME`, then ./conf, ./.aiq. `user` and `groups` are the identity
    that limits, permissions and the ledger see; without them those of conf/aiq.yml, `$AIQ_USER`, or the login name.
    Raises ConfigError, LedgerError and DuckDB's own errors.
    """
    gateway = open_gateway(conf, home)
    own = not isinstance(target, duckdb.DuckDBPyConnection)
    con = duckdb.connect(os.fspath(target) if target is not None else ":memory:") if own else target  # type: ignore[arg-type]
    assert isinstance(con, duckdb.DuckDBPyConnection)
    return Session(con, gateway, _caller(gateway, user, groups, usage_context), owns_connection=own, dialect=dialect)


def register(
    con: duckdb.DuckDBPyConnection,
    *,
    conf: str | os.PathLike[str] | None = None,
    home: str | os.PathLike[str] | None = None,
    user: str | None = None,
    groups: Sequence[str] | None = None,
    usage_context: Mapping[str, str] | None = None,
) -> None:
    """Makes `ai_query` callable on a connection that somebody keeps for himself. Results are STRING.

    What a plain function cannot do (types that depend on arguments) raises an error that names `session.sql`.
    """
    gateway = open_gateway(conf, home)
    caller = _caller(gateway, user, groups, usage_context)
    gateway.ledger.sync_entities(gateway.config.endpoints.values(), caller.user)
    engine.register_plain(con, gateway, caller)


def _caller(
    gateway: Gateway, user: str | None, groups: Sequence[str] | None, usage_context: Mapping[str, str] | None
) -> Caller:
    settings = gateway.config.settings
    return Caller(
        user or settings.user or os.environ.get("AIQ_USER") or getpass.getuser(),
        tuple(groups) if groups is not None else settings.groups,
        usage_context,
    )


def _check_text(text: str, params: Parameters) -> None:
    values = list(params.values()) if isinstance(params, Mapping) else list(params or ())
    for value in [text, *values]:
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise StatementError(
                    f"the text holds an invalid character (a lone surrogate at position {error.start}); "
                    "clean it with text.encode('utf-8', 'replace').decode()"
                ) from None


def _named_parameters(text: str, tokens: Any, params: Parameters) -> tuple[str, dict[str, Any] | None]:
    """Every parameter by name, because rewriting a call may move, repeat or consume some of them."""
    found = calls.find_parameters(tokens)
    if params is None:
        if found:
            raise StatementError(
                f"the statement has {len({p.name for p in found})} parameter(s) but no values; pass params=[...]"
            )
        return text, None
    by_name = (
        {str(name): value for name, value in params.items()}
        if isinstance(params, Mapping)
        else {str(position): value for position, value in enumerate(params, 1)}
    )
    wanted = {parameter.name for parameter in found}
    if missing := sorted(wanted - by_name.keys()):
        raise StatementError(f"no value for parameter {', '.join(missing)}; params has {len(by_name)}")
    if extra := sorted(by_name.keys() - wanted):
        raise StatementError(f"params has a value for {', '.join(extra)}, which the statement does not use")
    renamed = calls.replace(text, [(p.start, p.end, f"$aiq_{p.name}") for p in found])
    return renamed, {f"aiq_{name}": value for name, value in by_name.items()}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _used(con: duckdb.DuckDBPyConnection, sql: str, values: dict[str, Any] | None) -> dict[str, Any] | None:
    if not values:
        return None
    names = next(iter(con.extract_statements(sql))).named_parameters
    return {name: values[name] for name in names} or None


__all__ = ["AiqError", "Session", "connect", "register"]
