"""Which limits hold for a caller, and in which words they refuse. Knows neither time nor what was used.

Source: Databricks AI Gateway. The limit of the endpoint is everybody's; of the limits of users, the caller's own wins
over those of its groups, and these over the default; a caller in several groups is refused when all of them are over.
Each unit and period is decided by itself, so a limit on calls never lifts one on tokens.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple

from aiq.config.endpoint import Endpoint, RateLimit
from aiq.request import Caller

UNITS = ("calls", "tokens", "input_tokens", "output_tokens", "concurrency", "cost_usd")
CALLS, TOKENS, INPUT, OUTPUT, CONCURRENCY, COST = range(len(UNITS))
UNIT_WORDS = ("calls", "tokens", "input tokens", "output tokens")
NANO = 10**9
"""Dollars are counted in billionths."""
_PERIODS = {60: "minute", 3600: "hour", 86400: "day"}
_NAMES = ("Requests", "Tokens", "Input-tokens", "Output-tokens", "Concurrency", "US-dollars")
_SHORT = {"Requests-per-minute": " (RPM)", "Tokens-per-minute": " (TPM)"}


class Scope(NamedTuple):
    """A limit with whose bucket it is charged to: `name` is the same in all processes that share it."""

    limit: RateLimit
    name: str

    @property
    def unit(self) -> int:
        return UNITS.index(self.limit.unit)

    @property
    def amount(self) -> int:
        """In the unit's integers."""
        return int(self.limit.amount * NANO) if self.limit.unit == "cost_usd" else int(self.limit.amount)

    def words(self) -> str:
        """What is exceeded, in Databricks' words where it has any."""
        return f"{self._measure()} rate limit exceeded{self.whose()}"

    def title(self) -> str:
        """Its name in the ledger."""
        return f"{self._measure()} rate limit{self.whose()}"

    def plainly(self) -> str:
        """As a person says it: `20 calls/minute of user ann@example.com`."""
        limit = self.limit
        if limit.unit == "concurrency":
            rate = f"{limit.amount:g} requests at once"
        else:
            amount = (
                f"${limit.amount:g}" if limit.unit == "cost_usd" else f"{limit.amount:,.0f} {UNIT_WORDS[self.unit]}"
            )
            rate = f"{amount}/{_PERIODS.get(limit.period_s, f'{limit.period_s:g} s')}"
        whose = self.name.rpartition("|")[2].replace("%7C", "|").replace("%25", "%")
        kind = {"user": "user", "user_group": "group", "service_principal": "service principal"}.get(limit.key)
        if kind is not None:
            return f"{rate} of {kind} {whose}"
        return rate if limit.key == "endpoint" else f"{rate} of {limit.tag} {whose or '(none)'}"

    def _measure(self) -> str:
        name = _NAMES[self.unit]
        if self.limit.unit != "concurrency":
            name += f"-per-{_PERIODS.get(self.limit.period_s, f'{self.limit.period_s:g}-seconds')}"
        return f"{name}{_SHORT.get(name, '')}"

    def whose(self) -> str:
        """Whose limit it is, to follow a word; nothing for the endpoint's."""
        return {
            "endpoint": "",
            "user": " for user",
            "user_group": f" for group {self.limit.principal}",
            "service_principal": " for service principal",
            "usage_context": f" for usage context {self.limit.tag}",
        }[self.limit.key]


class Rules:
    """The limits of one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint.name
        self._limits = (*endpoint.rate_limits, *endpoint.aiq_rate_limits)
        self._tags = sorted({limit.tag for limit in self._limits if limit.tag is not None})
        self._groups = {limit.principal for limit in self._limits if limit.key == "user_group"}
        self.units = {limit.unit for limit in self._limits}

    def __bool__(self) -> bool:
        return bool(self._limits)

    def sort(self, caller: Caller) -> Hashable:
        """What `scopes` depends on: two callers of the same sort have the same limits."""
        groups = tuple(group for group in caller.groups if group in self._groups) if self._groups else ()
        context = caller.usage_context or {}
        return (caller.user, groups, *(context.get(tag, "") for tag in self._tags))

    def scopes(self, caller: Caller) -> list[tuple[Scope, ...]]:
        """The limits of a caller. Each element must grant; one of several scopes in it is enough."""
        found: list[tuple[Scope, ...]] = [
            (self._scope(limit, ""),) for limit in self._limits if limit.key == "endpoint"
        ]
        people = [limit for limit in self._limits if limit.key in ("user", "service_principal", "user_group")]
        for kind in dict.fromkeys((limit.unit, limit.period_s) for limit in people):
            same = [limit for limit in people if (limit.unit, limit.period_s) == kind]
            own = [limit for limit in same if limit.key != "user_group" and limit.principal == caller.user]
            groups = [limit for limit in same if limit.key == "user_group" and limit.principal in caller.groups]
            default = [limit for limit in same if limit.key == "user" and limit.principal is None]
            if own:
                found += [(self._scope(limit, caller.user),) for limit in own]
            elif groups:
                found.append(tuple(self._scope(limit, str(limit.principal)) for limit in groups))
            elif default:
                found.append((self._scope(default[0], caller.user),))
        context = caller.usage_context or {}
        # Who leaves the tag out shares one bucket with all who do: leaving it out must not lift a limit.
        found += [(self._scope(limit, context.get(limit.tag, "")),) for limit in self._limits if limit.tag is not None]
        return found

    @property
    def prefix(self) -> str:
        """How the names of all its scopes begin."""
        return _join((self._endpoint, ""))

    def _scope(self, limit: RateLimit, whose: str) -> Scope:
        # A caller keeps its bucket when its own limit comes or goes.
        key = "user" if limit.key == "service_principal" else limit.key
        parts = (self._endpoint, limit.unit, f"{limit.period_s:g}", key, limit.tag or "", whose)
        return Scope(limit, _join(parts))


def _join(parts: Iterable[str]) -> str:
    return "|".join(part.replace("%", "%25").replace("|", "%7C") for part in parts)
