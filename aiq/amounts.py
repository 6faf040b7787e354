"""Dollars and durations in words. Knows nothing of the house."""

from __future__ import annotations

from decimal import Decimal


def dollars(amount: float) -> str:
    """US dollars with as many digits as say something: `$12.40`, `$0.0312`, `$0.000073`."""
    if amount == 0:
        return "$0"
    if abs(amount) >= 1:
        return f"${amount:,.2f}"
    if abs(amount) >= 0.0001:
        return f"${amount:.4f}"
    return f"${Decimal(f'{amount:.2g}'):f}"


def seconds(amount: float, *, whole: bool = False) -> str:
    """A duration in words: `0.4 s`, `2 min 5 s`, `1 h 3 min`; `whole` leaves tenths out."""
    if amount < 60:
        return f"{int(amount)} s" if whole else f"{amount:.1f} s"
    minutes, rest = divmod(int(amount), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
