"""What every request passes, whatever asked it: admit, screen, fail over from entity to entity, call, record.

Knows policy and the ledger; it does not know a wire format or an engine.
"""

from __future__ import annotations

from aiq.gateway.gateway import Gateway

__all__ = ["Gateway"]
