"""A plugin of dbt-duckdb: models may call `ai_query`. In profiles.yml: `plugins: [{module: aiq.dbt, config: {..}}]`.

dbt-duckdb hands a plugin its cursors, on which `ai_query` is registered, and no statements: SQL models have what a
registered connection has. A Python model has the whole of it, through `session`.
"""

from __future__ import annotations

import threading
from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin
from duckdb import DuckDBPyConnection

from aiq.engines.connect import connect, register
from aiq.engines.duckdb.session import DuckDBSession
from aiq.errors import ConfigError

_OPTIONS = ("conf", "home", "user", "groups", "usage_context")
_options: dict[str, Any] = {}
"""Of the profile that runs: dbt has one in a process."""
_one_at_a_time = threading.Lock()


class Plugin(BasePlugin):  # type: ignore[misc]
    """Registers `ai_query` on every cursor of dbt, with the options that `aiq.register` takes."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Reads conf, home, user, groups and usage_context from the profile. Raises ConfigError for another name."""
        of_duckdb = (self.creds and self.creds.settings) or {}  # dbt-duckdb mixes them in
        for name in plugin_config:
            if name not in _OPTIONS and name not in of_duckdb:
                raise ConfigError(f"has no option {name!r}; there are {', '.join(_OPTIONS)}", field="plugin aiq.dbt")
        _options.clear()
        _options.update({name: value for name, value in plugin_config.items() if name in _OPTIONS})

    def configure_cursor(self, cursor: Any) -> None:
        """Every thread of dbt has a cursor of its own, which does not know the named arguments of another one."""
        with _one_at_a_time:  # they change the functions of one database
            register(_connection(cursor), **_options)


def session(con: Any) -> DuckDBSession:
    """A Session on the connection that a Python model gets as its second argument, with the options of the profile."""
    return connect(_connection(con), **_options)


def _connection(cursor: Any) -> DuckDBPyConnection:
    """The connection inside dbt-duckdb's wrappers, which pass on what they do not have."""
    connection = cursor.begin.__self__
    assert isinstance(connection, DuckDBPyConnection)
    return connection
