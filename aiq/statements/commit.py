"""Brings what was recorded to the ledger's tables. A table that cannot be written costs no statement its answers."""

from __future__ import annotations

import warnings

from aiq.errors import LedgerError
from aiq.ledger.ledger import Ledger


def commit(ledger: Ledger, *, soon: bool = False) -> None:
    """Commits all rows; with `soon`, where statements follow one another quickly, within seconds."""
    try:
        if soon:
            ledger.commit_soon()
        else:
            ledger.commit()
    except LedgerError as error:
        warnings.warn(f"{error} (rows of the ledger wait in {ledger.home}/spool)", stacklevel=5)
