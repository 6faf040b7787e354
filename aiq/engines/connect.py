"""The doors: `connect` and `register`, on a DuckDB connection or a SparkSession."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard, overload

import duckdb

from aiq.config.usage_context import parse_usage_context
from aiq.engines.duckdb.interrupt import wrap_interrupt
from aiq.engines.duckdb.plain import register_plain
from aiq.engines.duckdb.session import DuckDBSession
from aiq.errors import StatementError
from aiq.gateway import Gateway
from aiq.request import Caller
from aiq.resources import plain_errors
from aiq.runtime import open_gateway
from aiq.telemetry.export import export

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from aiq.engines.spark.session import SparkSqlSession


def is_spark(target: object) -> TypeGuard[SparkSession]:
    """Whether a connection is a SparkSession, without importing Spark for those who do not use it."""
    return type(target).__name__ == "SparkSession" and type(target).__module__.startswith("pyspark.sql")


@overload
def connect(
    target: SparkSession,
    *,
    conf: str | os.PathLike[str] | None = None,
    home: str | os.PathLike[str] | None = None,
    user: str | None = None,
    groups: Sequence[str] | None = None,
    usage_context: Mapping[str, str] | None = None,
    variables: Mapping[str, Any] | None = None,
) -> SparkSqlSession: ...


@overload
def connect(
    target: str | os.PathLike[str] | duckdb.DuckDBPyConnection | None = None,
    *,
    conf: str | os.PathLike[str] | None = None,
    home: str | os.PathLike[str] | None = None,
    user: str | None = None,
    groups: Sequence[str] | None = None,
    usage_context: Mapping[str, str] | None = None,
    dialect: str = "duckdb",
    variables: Mapping[str, Any] | None = None,
) -> DuckDBSession: ...


@plain_errors()
def connect(
    target: str | os.PathLike[str] | duckdb.DuckDBPyConnection | SparkSession | None = None,
    *,
    conf: str | os.PathLike[str] | None = None,
    home: str | os.PathLike[str] | None = None,
    user: str | None = None,
    groups: Sequence[str] | None = None,
    usage_context: Mapping[str, str] | None = None,
    dialect: str = "duckdb",
    variables: Mapping[str, Any] | None = None,
) -> DuckDBSession | SparkSqlSession:
    """A session on a DuckDB file, a DuckDB connection, a SparkSession, or (None) a database in memory.

    `conf` and `home` default to `$AIQ_CONF`, `$AIQ_HOME`, then ./conf, ./.aiq. `user` and `groups` are the identity
    that limits, permissions and the ledger see; without them those of conf/aiq.yml, `$AIQ_USER`, or the login name.
    `usage_context` are tags that calls have in the ledger, by default those of `$AIQ_USAGE_CONTEXT`.
    `variables` are the values of widgets in the session's texts: `${name}`, `{{ name }}`, `:name`.
    Raises ConfigError, LedgerError and DuckDB's own errors.
    """
    gateway = open_gateway(conf, home)
    export(gateway)
    if is_spark(target):
        from aiq.engines.spark.session import SparkSqlSession

        return SparkSqlSession(target, gateway, caller_of(gateway, user, groups, usage_context), variables)
    wrap_interrupt()
    own = not isinstance(target, duckdb.DuckDBPyConnection)
    con = duckdb.connect(os.fspath(target) if target is not None else ":memory:") if own else target  # type: ignore[arg-type]
    assert isinstance(con, duckdb.DuckDBPyConnection)
    caller = caller_of(gateway, user, groups, usage_context)
    return DuckDBSession(con, gateway, caller, owns_connection=own, dialect=dialect, variables=variables)


@plain_errors()
def register(
    con: duckdb.DuckDBPyConnection | SparkSession,
    *,
    conf: str | os.PathLike[str] | None = None,
    home: str | os.PathLike[str] | None = None,
    user: str | None = None,
    groups: Sequence[str] | None = None,
    usage_context: Mapping[str, str] | None = None,
) -> None:
    """Makes `ai_query` callable on a connection or SparkSession that somebody keeps for himself. Results are STRING.

    What a plain function cannot do (types that depend on arguments) raises an error that names `session.sql`. A classic
    SparkSession gives each call the type of its arguments.
    """
    gateway = open_gateway(conf, home)
    export(gateway)
    caller = caller_of(gateway, user, groups, usage_context)
    if not isinstance(con, duckdb.DuckDBPyConnection):
        from aiq.engines.spark.register import register as register_on_spark

        register_on_spark(con, gateway, caller)
        return
    wrap_interrupt()
    gateway.ledger.sync_entities(gateway.config.endpoints.values(), caller.user)
    register_plain(con, gateway, caller)


def caller_of(
    gateway: Gateway, user: str | None, groups: Sequence[str] | None, usage_context: Mapping[str, str] | None
) -> Caller:
    """Who asks: what is given, else conf/aiq.yml, $AIQ_USER, the login name. Raises StatementError for a bad name."""
    settings = gateway.config.settings
    name = user or settings.user or os.environ.get("AIQ_USER") or getpass.getuser()
    if not name.isprintable():
        raise StatementError(f"the user name {name!a} holds an invalid character; give one that can be printed")
    if usage_context is None and (tags := os.environ.get("AIQ_USAGE_CONTEXT")):
        usage_context = parse_usage_context(tags, "$AIQ_USAGE_CONTEXT")
    return Caller(name, tuple(groups) if groups is not None else settings.groups, usage_context)
