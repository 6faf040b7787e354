"""The SQL functions; and, where Spark is used, `aiq.functions.ai_query` for its columns."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiq.engines.spark.functions import ai_query

__all__ = ["ai_query"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # Spark is imported by those who have it
        return getattr(import_module("aiq.engines.spark.functions"), name)
    raise AttributeError(f"module 'aiq.functions' has no attribute '{name}'")
