"""Admits requests to one endpoint as its limits allow: all or nothing over every limit, reserved before, settled after.

Who may not go yet waits for its turn, fairly among users, or is told exactly how long it would have to. Knows who
asks and for how much, but neither provider nor price.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Hashable, Sequence

from aiq.config.endpoint import Endpoint
from aiq.errors import PolicyError
from aiq.policy.limits.book import Book, MemoryBook
from aiq.policy.limits.clauses import Clause, Plan
from aiq.policy.limits.estimate import Estimator
from aiq.policy.limits.grant import Grant
from aiq.policy.limits.rules import CALLS, CONCURRENCY, COST, INPUT, NANO, OUTPUT, TOKENS, Rules, Scope
from aiq.policy.limits.waiting import Turn, WaitingRoom
from aiq.policy.limits.window import NEVER
from aiq.policy.waits import Wait
from aiq.request import Caller, Request, Usage, text_characters

_MAX_PLANS = 10_000
"""Callers whose limits are kept at hand. Beyond, they and the buckets that hold nothing are dropped."""


class RateLimiter:
    """The limits of one endpoint. Used on the event loop only."""

    def __init__(
        self,
        endpoint: Endpoint,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        *,
        book: Book | None = None,
        most_usd: Callable[[Request], float] | None = None,
    ) -> None:
        """`clock` is monotonic, in seconds, and `sleep` waits by it. `book` None counts in this process alone.

        `most_usd` is what a request can cost at the most; needed where there are limits in US dollars.
        """
        self._endpoint, self._clock = endpoint, clock
        self._book: Book = book or MemoryBook()
        self._most_usd = most_usd
        self._rules = Rules(endpoint)
        self.limited = bool(self._rules)
        self.estimator = Estimator()
        self._plans: dict[Hashable, Plan] = {}
        self._last: tuple[Caller | None, Plan] = (None, Plan(()))
        self._room = WaitingRoom(endpoint.name, self._book, clock, sleep)

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return len(self._room)

    def try_acquire(self, request: Request) -> Grant | None:
        """A grant where no request waits and every limit has room at hand; None where `acquire` must be asked."""
        if len(self._room):
            return None
        caller, plan = self._last
        if caller is not request.caller:
            plan = self._plan(request.caller)
        if plan.blocked is not None:
            return None
        now_us = round(self._clock() * 1e6)
        if request.interactive:
            plan.ask(now_us)
        if not plan.estimates:
            return plan.charge(plan.ones, 0, now_us, request.interactive)
        amounts, least_in, characters = self._amounts(plan, request)
        return plan.charge(plan.needs(amounts, least_in), characters, now_us, request.interactive)

    async def acquire(self, request: Request, wait: bool = True) -> Grant:
        """Charges every limit of the caller, after its turn has come.

        Raises PolicyError: 403 where a limit of 0 holds; 429 where the turn comes after the request's deadline, and at
        once where the request is interactive or `wait` is false, with the seconds after which it would be granted;
        503 where the store of the limits does not answer.
        """
        grant = self.try_acquire(request)
        if grant is not None:
            return grant
        plan = self._plan(request.caller)
        if plan.blocked is not None:
            raise self._blocked(plan.blocked)
        if request.interactive:
            plan.ask(round(self._clock() * 1e6))
        amounts, least_in, characters = self._amounts(plan, request)
        self._check_possible(plan, amounts, least_in)
        deadline_us = NEVER if request.deadline_s is None else round(request.deadline_s * 1e6)
        turn = Turn(plan, plan.needs(amounts, least_in), characters, deadline_us, interactive=request.interactive)
        cost = amounts[TOKENS] if plan.estimates else 1
        return await self._room.wait(request.caller.user, turn, cost, refuse=request.interactive or not wait)

    def settle(self, grant: Grant, usage: Usage | None, cost_usd: float | None, *, keep: bool = False) -> None:
        """Corrects what was reserved to what was used: less goes back, more becomes a debt from now on.

        Where `usage` or `cost_usd` is not known, or with `keep` (something else may have been billed as well), nothing
        of that goes back. Calls stay counted. A second time has no effect.
        """
        now_us = round(self._clock() * 1e6)
        for bucket, charge, reserved, unit in grant.charges:
            if unit == CALLS:
                continue
            if unit == CONCURRENCY:
                bucket.refund(charge, reserved)
                continue
            if unit == COST:
                used = None if cost_usd is None else math.ceil(cost_usd * NANO)
            else:
                used = None if usage is None else _tokens(usage, unit)
            if used is None:
                continue
            if used > reserved:
                bucket.charge(now_us, used - reserved)
            elif used < reserved and not keep:
                bucket.refund(charge, reserved - used)
        if usage is not None and usage.input_tokens and not usage.estimated and grant.characters and grant.charges:
            self.estimator.learn(grant.characters, usage)
        self._close(grant)

    def release(self, grant: Grant) -> None:
        """Gives everything back, because no call was made."""
        for bucket, charge, reserved, _ in grant.charges:
            bucket.refund(charge, reserved)
        self._close(grant)

    def calls_per_minute(self, caller: Caller) -> int | None:
        """The lowest limit of calls a minute that holds for a caller; None where there is none."""
        found = [
            clause.most
            for clause in self._plan(caller).clauses
            if clause.unit == CALLS and clause.scopes[0].limit.period_s == 60
        ]
        return min(found, default=None)

    def waits(self) -> Wait | None:
        """What requests wait for here; None where none does. Any thread."""
        return self._room.waits()

    def seconds_for(self, caller: Caller, requests: int, tokens: float, cost_usd: float) -> float:
        """Seconds that so many requests of a caller take by its limits, at so many tokens and US dollars each."""
        each = {CALLS: 1.0, TOKENS: tokens, COST: cost_usd * NANO}
        return max(
            (
                requests * each.get(clause.unit, 0.0) / clause.most * clause.scopes[0].limit.period_s
                for clause in self._plan(caller).clauses
                if clause.most
            ),
            default=0.0,
        )

    def _close(self, grant: Grant) -> None:
        if grant.charges and len(self._room):
            self._room.wake()
        grant.charges = ()

    def _plan(self, caller: Caller) -> Plan:
        sort = self._rules.sort(caller)
        plan = self._plans.get(sort)
        if plan is None:
            if len(self._plans) >= _MAX_PLANS and not len(self._room):
                self._plans.clear()
                self._book.prune(self._rules.prefix, round(self._clock() * 1e6))
            clauses = []
            for scopes in self._rules.scopes(caller):
                buckets = tuple(self._book.bucket(scope) for scope in scopes)
                clauses.append(Clause(scopes[0].unit, buckets, scopes, max(scope.amount for scope in scopes)))
            plan = self._plans[sort] = Plan(clauses)
        self._last = (caller, plan)
        return plan

    def _amounts(self, plan: Plan, request: Request) -> tuple[tuple[int, ...], int, int]:
        """What a request is likely to take, by unit; its fewest input tokens; the characters it was estimated by."""
        if not plan.estimates:
            return (1, 0, 0, 0, 1, 0), 0, 0
        characters = text_characters(request.body)
        tokens_in, tokens_out = self.estimator.input_tokens(characters), self.estimator.output_tokens(request)
        cost = 0
        if plan.costs:
            assert self._most_usd is not None, "limits in US dollars need prices"
            cost = math.ceil(self._most_usd(request) * NANO)
        least_in = self.estimator.least_input_tokens(characters)
        return (1, tokens_in + tokens_out, tokens_in, tokens_out, 1, cost), least_in, characters

    def _check_possible(self, plan: Plan, amounts: Sequence[int], tokens_in: int) -> None:
        for clause in plan.clauses:
            limit = clause.scopes[0].limit
            if clause.unit == COST and amounts[COST] > clause.most:
                reason = (
                    f"This request may cost up to ${amounts[COST] / NANO:.6f}, more than the whole limit of "
                    f"${limit.amount:g}: lower max_tokens, or raise the limit in {self._endpoint.file or 'its file'}"
                )
            elif clause.unit in (TOKENS, INPUT) and tokens_in > clause.most:
                reason = (
                    f"This request has about {tokens_in} input tokens, more than the whole limit of "
                    f"{clause.most}: shorten it, or raise the limit in {self._endpoint.file or 'its file'}"
                )
            else:
                continue
            message = f"User defined rate limit(s) exceeded for '{self._endpoint.name}'. {clause.scopes[0].words()}. "
            raise PolicyError(
                message + reason,
                endpoint=self._endpoint.name,
                status=429,
                error_code="REQUEST_LIMIT_EXCEEDED",
                limit=clause.scopes[0].title(),
            )

    def _blocked(self, scope: Scope) -> PolicyError:
        return PolicyError(
            f"Calls to '{self._endpoint.name}' are blocked{scope.whose()}: a rate limit of 0 {scope.limit.unit} is set "
            "for it.",
            endpoint=self._endpoint.name,
            status=403,
            error_code="PERMISSION_DENIED",
            limit=scope.title(),
        )


def _tokens(usage: Usage, unit: int) -> int:
    if unit == INPUT:
        return usage.input_tokens
    return usage.output_tokens if unit == OUTPUT else usage.input_tokens + usage.output_tokens
