"""Gives the results of statements their receipts: `r.receipt`. Knows no engine; a result is a relation or a data frame.

The classes of results are the engines' own, and take no attribute of ours on DuckDB; so the class gets a property.
"""

from __future__ import annotations

import weakref
from typing import Any

from aiq.statements.receipt import Receipt

_receipts: dict[int, Receipt] = {}
"""By the id of a result that is alive."""


def attach(result: Any, receipt: Receipt) -> None:
    """From now on `result.receipt` is the receipt; of results made of it, and of others, it is None.

    A column of that name goes before it, as everywhere in DuckDB and Spark.
    """
    kind = type(result)
    if not isinstance(vars(kind).get("receipt"), property):
        kind.receipt = property(_receipt_or_column)
    _receipts[id(result)] = receipt
    weakref.finalize(result, _receipts.pop, id(result), None).atexit = False


def _receipt_or_column(result: Any) -> Any:
    for name in result.columns:
        if name.lower() == "receipt":
            return result[name]
    return _receipts.get(id(result))
