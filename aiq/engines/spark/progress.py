"""What a person sees on the driver while Spark's workers answer a statement: what they share says how far they are."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

from aiq.amounts import seconds
from aiq.batch.kept import reuse_of
from aiq.engines.spark.job import Origin
from aiq.engines.spark.statement import shared
from aiq.errors import LedgerError
from aiq.gateway import Gateway
from aiq.runtime import shared_answers
from aiq.statements.progress import shown_line
from aiq.statements.reader import speaks

LOOK_S = 1.0
"""How often the store is asked, in seconds."""
_LONG_S = 2.0


@contextmanager
def shown_workers(
    gateway: Gateway, origin: Origin, statement: str, endpoints: Collection[str], quiet: bool | None
) -> Iterator[None]:
    """Shows while inside how many requests are answered, if somebody is there to see it.

    Nothing of endpoints whose `reuse` is `off`: there the workers share nothing.
    """
    modes = {name: reuse_of(gateway, origin.caller, name, asked=origin.reuse).mode for name in endpoints}
    watched = {shared(origin, statement, session=mode == "session") for mode in modes.values() if mode != "off"}
    if not watched or not speaks(gateway.config.settings, quiet):
        yield
        return
    store, started = shared_answers(gateway), time.monotonic()
    looked, answered, asking = started, 0, 0

    def said(now: float) -> str:
        nonlocal looked, answered, asking
        if now - looked >= LOOK_S:
            with suppress(LedgerError):  # the statement itself says it, where it matters
                found = [store.progress(each) for each in watched]
                answered, asking = sum(done for done, _ in found), sum(open_ for _, open_ in found)
            looked = now
        limits = {name: gateway.seconds_for(name, origin.caller, asking, 0.0, 0.0) for name in modes}
        return line(answered, asking, now - started, limits)

    with shown_line(said):
        yield


def line(answered: int, asking: int, elapsed_s: float, limits_s: dict[str, float]) -> str:
    """One line of progress. `limits_s`: how long what is being asked takes by the rate limits of each endpoint."""
    if not answered and not asking:
        return "Spark computes the requests"
    parts = [f"{answered:,} requests answered", f"{answered / max(elapsed_s, 1e-9):,.0f} requests/s"]
    if asking:
        parts.append(f"{asking:,} with the workers")
    name, limited_s = max(limits_s.items(), key=lambda pair: pair[1], default=("", 0.0))
    if asking and limited_s > _LONG_S:
        parts.append(f"the rate limits of '{name}' let them go in {seconds(limited_s, whole=True)}")
    return " · ".join(parts)
