"""The limits of one caller as a test and a charge: all or nothing over every clause. Must never know a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aiq.policy.limits.book import Lacking
from aiq.policy.limits.grant import Charge, Grant
from aiq.policy.limits.rules import COST, INPUT, OUTPUT, TOKENS, Scope
from aiq.policy.limits.window import LimitState


class Clause(NamedTuple):
    """Limits of one unit: one of them must have room, and all are charged. Usually there is one.

    `most` is the largest of them: what is estimated to need more counts as filling it.
    """

    unit: int
    buckets: tuple[LimitState, ...]
    scopes: tuple[Scope, ...]
    most: int


class Plan:
    """The limits of a caller. `blocked` is one of zero; `estimates` and `costs` say what must be known of a request."""

    __slots__ = ("blocked", "clauses", "costs", "estimates", "ones")

    def __init__(self, clauses: Sequence[Clause]) -> None:
        self.clauses = tuple(clauses)
        self.blocked = next((clause.scopes[0] for clause in clauses if not clause.most), None)
        units = {clause.unit for clause in clauses}
        self.costs = COST in units
        self.estimates = self.costs or bool(units & {TOKENS, INPUT, OUTPUT})
        self.ones = (1,) * len(clauses)

    def needs(self, amounts: Sequence[int], least_in: int) -> list[int]:
        """What a request takes of each clause, by its amounts of each unit. `least_in`: its fewest input tokens.

        What may be more than the limit takes all of it, because it hardly ever is; a prompt that surely is never fits.
        """
        return [
            min(amounts[unit], most) if unit == OUTPUT or (unit in (TOKENS, INPUT) and least_in <= most)
            else amounts[unit]
            for unit, _, _, most in self.clauses
        ]  # fmt: skip

    def lacking(self, needs: Sequence[int], now_us: int, interactive: bool) -> list[Lacking]:
        """The clauses that cannot grant what is needed of them."""
        return [
            Lacking(clause.scopes, clause.buckets, need, interactive)
            for clause, need in zip(self.clauses, needs, strict=True)
            if not any(_grants(bucket, need, now_us, interactive) for bucket in clause.buckets)
        ]

    def charge(self, needs: Sequence[int], characters: int, now_us: int, interactive: bool) -> Grant | None:
        """Everything charged, or nothing and None."""
        for (_, buckets, _, _), need in zip(self.clauses, needs):  # noqa: B905  (strict costs time here)
            for bucket in buckets:
                room = bucket.room(now_us) - need  # as `_grants`: asked of every row
                if room >= 0 and (
                    interactive
                    or now_us >= bucket.share.until_us
                    or room >= bucket.share.kept(now_us, bucket.limit, need)
                ):
                    break
            else:
                return None
        charges: list[Charge] = []
        for (unit, buckets, _, _), need in zip(self.clauses, needs):  # noqa: B905
            for bucket in buckets:
                charges.append((bucket, bucket.charge(now_us, need), need, unit))
                if interactive:
                    bucket.share.use(now_us, need)
        return Grant(charges, characters)

    def ask(self, now_us: int) -> None:
        """Somebody asks in person: batches leave a share of each of these limits free."""
        for clause in self.clauses:
            for bucket in clause.buckets:
                bucket.share.ask(now_us)

    def is_in_share(self, needs: Sequence[int], now_us: int) -> bool:
        """Whether who asks in person has so much left of the share of every limit."""
        return all(
            any(bucket.share.left(now_us, bucket.limit) >= need for bucket in clause.buckets)
            for clause, need in zip(self.clauses, needs, strict=True)
        )


def _grants(bucket: LimitState, need: int, now_us: int, interactive: bool) -> bool:
    room, share = bucket.room(now_us) - need, bucket.share
    return room >= 0 and (interactive or now_us >= share.until_us or room >= share.kept(now_us, bucket.limit, need))
