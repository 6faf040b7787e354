"""aiq makes a language model a SQL function: `SELECT ai_query('endpoint', prompt) FROM t`.

What users import: `connect`, `register`, `enrich`, `functions`, `Session`, `Gateway` and the errors. Everything heavy
loads at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from aiq.errors import (
    AiqError,
    BudgetExceeded,
    ConfigError,
    FunctionError,
    GuardrailBlocked,
    LedgerError,
    PolicyError,
    ProviderError,
    RequestFailed,
    ResourceError,
    ResultError,
    SecretError,
    StatementCancelled,
    StatementError,
    StreamBroken,
    UnsupportedConfigError,
)

if TYPE_CHECKING:
    from aiq import functions
    from aiq.engines.connect import connect, register
    from aiq.engines.spark.functions import enrich
    from aiq.engines.spark.tables import ledger_views
    from aiq.gateway import Gateway
    from aiq.statements.session import Session

__version__ = "0.1.0"

_LAZY = {
    "connect": "aiq.engines.connect",
    "register": "aiq.engines.connect",
    "Session": "aiq.statements.session",
    "enrich": "aiq.engines.spark.functions",
    "ledger_views": "aiq.engines.spark.tables",
    "Gateway": "aiq.gateway",
}


def __getattr__(name: str) -> Any:
    if name == "functions":
        return import_module("aiq.functions")
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'aiq' has no attribute '{name}'")


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext aiq`: the cell magic `%%ai_sql`."""
    from aiq.magic import load

    load(shell)


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "AiqError",
    "BudgetExceeded",
    "ConfigError",
    "FunctionError",
    "Gateway",
    "GuardrailBlocked",
    "LedgerError",
    "PolicyError",
    "ProviderError",
    "RequestFailed",
    "ResourceError",
    "ResultError",
    "SecretError",
    "Session",
    "StatementCancelled",
    "StatementError",
    "StreamBroken",
    "UnsupportedConfigError",
    "__version__",
    "connect",
    "enrich",
    "functions",
    "ledger_views",
    "register",
]
