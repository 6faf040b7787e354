"""The gateway over HTTP: Databricks' serving REST and OpenAI's, for the clients that people have. docs/serve.md."""

from __future__ import annotations

import os

from aiq.runtime import open_gateway
from aiq.serve.app import App
from aiq.telemetry.export import export

__all__ = ["App", "app"]


def app(
    conf: str | os.PathLike[str] | None = None,
    home: str | os.PathLike[str] | None = None,
    *,
    read_only: bool = False,
) -> App:
    """An ASGI application that serves the endpoints of a `conf` folder, with the ledger and tokens of a `home`.

    Defaults: `$AIQ_CONF` then ./conf, `$AIQ_HOME` then ./.aiq. `read_only` refuses changes of endpoints. Raises
    ConfigError and LedgerError.
    """
    gateway = open_gateway(conf, home)
    export(gateway)
    return App(gateway, read_only=read_only)
