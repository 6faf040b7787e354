"""Limits that several processes share: leases, clocks that jump, stores that are gone or lose what they knew."""

from __future__ import annotations

import asyncio
import sqlite3
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiq.config.connections import Secret
from aiq.config.endpoint import RateLimit, Settings
from aiq.errors import PolicyError
from aiq.policy.limits import RateLimiter, open_book
from aiq.policy.limits.book import Change, Leased, LimitStore, MemoryBook, StoreUnavailable, Want
from aiq.policy.limits.file_store import FILE, FileStore
from aiq.policy.limits.leases import HOLD_US, NEED_US, Lease, LeasedBook
from aiq.policy.limits.window import NEVER

MINUTE_US = 60_000_000


def limiter(make: Any, time: Any, store: LimitStore, *limits: RateLimit) -> RateLimiter:
    """As another process would have it, with leases of its own."""
    book = LeasedBook(store, time.clock, time.sleep)
    return RateLimiter(make.endpoint(aiq_rate_limits=limits), time.clock, time.sleep, book=book)


def want(limit: int, need: int = 1, surplus: int = 0) -> list[list[Want]]:
    return [[Want("w", limit, MINUTE_US, 0, 1_000_000, 0, need, surplus)]]


def exchange(store: LimitStore, changes: Any = (), clauses: Any = ()) -> Leased:
    return asyncio.run(store.exchange(changes, clauses))


@given(
    amount=st.sampled_from([5, 64, 300, 2000]),
    arrivals=st.lists(st.tuples(st.floats(0, 3), st.integers(0, 2), st.integers(1, 60)), min_size=5, max_size=40),
    held_up_s=st.lists(st.sampled_from([0, 0, 0.001, 0.005, 0.03, 0.06, 0.07, 0.3]), max_size=40),
)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_processes_with_leases_never_exceed_the_limit_in_any_period(
    make: Any,
    tmp_path_factory: pytest.TempPathFactory,
    amount: int,
    arrivals: list[tuple[float, int, int]],
    held_up_s: list[float],
) -> None:
    time = make.time()
    store = FileStore(tmp_path_factory.mktemp("home"), clock=time.clock)
    limits = [
        limiter(make, time, HeldUp(store, time, *held_up_s[n::3]), RateLimit(amount, period_s=2)) for n in range(3)
    ]
    log: list[float] = []
    charge = Lease.charge

    def noted_charge(lease: Lease, now_us: int, taken: int) -> int:
        log.append(now_us / 1e6)
        return charge(lease, now_us, taken)

    async def burst(at: float, which: int, count: int) -> None:
        await time.sleep(at)
        for _ in range(count):
            await limits[which].acquire(make.request(f"user{count % 3}"))
            await time.sleep(0.001)

    async def work() -> None:
        await asyncio.gather(*(burst(*arrival) for arrival in arrivals))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lease, "charge", noted_charge)
        time.run(work())
    asyncio.run(store.close())
    assert len(log) == sum(count for _, _, count in arrivals)
    for start in log:
        assert sum(start <= at < start + 2 - 1e-6 for at in log) <= amount


def test_a_lease_that_is_not_used_goes_back(make: Any, tmp_path: Path) -> None:
    time = make.time()
    store = FileStore(tmp_path, clock=time.clock)
    one, other = (limiter(make, time, store, RateLimit(640)) for _ in range(2))

    async def work() -> int:
        for _ in range(40):
            await one.acquire(make.request())
        await time.sleep(2)
        granted = 0
        while True:
            try:
                await other.acquire(make.request(), wait=False)
            except PolicyError:
                return granted
            granted += 1

    assert time.run(work()) == 600


def test_a_lease_is_not_used_after_its_end(make: Any, tmp_path: Path) -> None:
    time = make.time()
    store = FileStore(tmp_path, clock=time.clock)
    limits = limiter(make, time, store, RateLimit(64_000))

    async def work() -> bool:
        for _ in range(4):
            await limits.acquire(make.request())
        assert limits.try_acquire(make.request()) is not None
        time.now += 1.0
        return limits.try_acquire(make.request()) is None

    assert time.run(work())


def test_many_users_at_their_limits_hold_up_nobody(make: Any, tmp_path: Path) -> None:
    time = make.time()
    limits = limiter(make, time, FileStore(tmp_path, clock=time.clock), RateLimit(1, "user"))

    async def work() -> list[float]:
        users = [f"user{number}" for number in range(60)]
        waits = await asyncio.gather(*(limits.acquire(make.request(user)) for user in [*users, *users]))
        return sorted(grant.waited_s for grant in waits)

    waited = time.run(work())
    assert (waited[:60], waited[60:]) == ([0.0] * 60, [60 + NEED_US / 1e6] * 60)


def test_closing_gives_leases_back(make: Any, tmp_path: Path) -> None:
    time = make.time()
    store = FileStore(tmp_path, clock=time.clock)
    book = LeasedBook(store, time.clock, time.sleep)
    limits = RateLimiter(make.endpoint(limits=[RateLimit(64_000)]), time.clock, time.sleep, book=book)

    async def work() -> None:
        for _ in range(20):
            await limits.acquire(make.request())
        await book.close()

    time.run(work())
    with sqlite3.connect(tmp_path / FILE) as db:
        assert db.execute("SELECT amount FROM used").fetchall() == [(20,)]
    db.close()


def test_a_place_in_flight_of_a_dead_process_comes_back(make: Any, tmp_path: Path) -> None:
    time = make.time()
    store = FileStore(tmp_path, clock=time.clock)
    concurrency = RateLimit(1, unit="concurrency", period_s=0)
    dead, living = (limiter(make, time, store, concurrency) for _ in range(2))
    asyncio.run(dead.acquire(make.request()))  # with its loop ends what would keep it
    with pytest.raises(PolicyError):
        time.run(living.acquire(make.request(), wait=False))
    time.now += HOLD_US / 1e6
    assert time.run(living.acquire(make.request(), wait=False)) is not None


def test_a_place_in_flight_of_a_slow_call_is_kept(make: Any, tmp_path: Path) -> None:
    time = make.time()
    store = FileStore(tmp_path, clock=time.clock)
    concurrency = RateLimit(1, unit="concurrency", period_s=0)
    slow, other = (limiter(make, time, store, concurrency) for _ in range(2))

    async def work() -> float:
        grant = await slow.acquire(make.request())
        waiting = asyncio.create_task(other.acquire(make.request()))
        await time.sleep(150)
        slow.settle(grant, None, None)
        return (await waiting).waited_s

    assert 150 <= time.run(work()) < 151


def test_a_place_in_flight_comes_back_from_a_user_who_is_not_kept_at_hand(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiq.policy.limits.limiter._MAX_PLANS", 1)
    time = make.time()
    limits = limiter(make, time, FileStore(tmp_path, clock=time.clock), RateLimit(1, "user", None, "concurrency", 0))

    async def work() -> None:
        grants = [await limits.acquire(make.request(user)) for user in ("ann", "bob", "cy")]
        for grant in grants:
            limits.settle(grant, None, None)
        await time.sleep(1)

    time.run(work())
    with sqlite3.connect(tmp_path / FILE) as db:
        assert db.execute("SELECT sum(amount) FROM used").fetchone() == (0,)
    db.close()


def test_the_wall_clock_does_not_matter(make: Any, tmp_path: Path) -> None:
    time, wall = make.time(), make.time()
    store = FileStore(tmp_path, clock=time.clock, wall=wall.clock)
    exchange(store, clauses=want(1))
    for jump in (86400, -2 * 86400):
        wall.now += jump
        assert exchange(store, clauses=want(1)).wait_us == MINUTE_US


@pytest.mark.parametrize(("wall_s", "left_s"), [(20, 40), (0, 60), (-3600, 60), (100, 0)])
def test_what_was_used_before_a_reboot_still_counts(make: Any, tmp_path: Path, wall_s: int, left_s: int) -> None:
    time, wall = make.time(50_000.0), make.time()
    store = FileStore(tmp_path, clock=time.clock, wall=wall.clock)
    exchange(store, clauses=want(1))
    time.now = 5.0
    wall.now += wall_s
    assert exchange(store, clauses=want(1)).wait_us == left_s * 10**6


def test_a_reboot_that_cannot_be_seen_only_refuses_longer(make: Any, tmp_path: Path) -> None:
    time, wall = make.time(10.0), make.time()
    store = FileStore(tmp_path, clock=time.clock, wall=wall.clock)
    exchange(store, clauses=want(1))
    time.now = 15.0  # up for longer than before, and hours later
    wall.now += 7200
    assert exchange(store, clauses=want(1)).wait_us == MINUTE_US - 5_000_000


def test_a_new_process_clears_away_what_has_expired(make: Any, tmp_path: Path) -> None:
    time = make.time()
    for number in range(3):
        store = FileStore(tmp_path, clock=time.clock)
        exchange(store, clauses=[[want(5)[0][0]._replace(name=f"user-{number}")]])
        asyncio.run(store.close())
        time.now += 40
    with sqlite3.connect(tmp_path / FILE) as db:
        assert db.execute("SELECT name, amount FROM used ORDER BY 1").fetchall() == [("user-1", 1), ("user-2", 1)]
    db.close()


def test_all_clauses_or_none(make: Any, tmp_path: Path) -> None:
    time = make.time()
    store = FileStore(tmp_path, clock=time.clock)
    (narrow,), (wide,) = want(1), [[Want("wide", 10, MINUTE_US, 0, 1_000_000, 0, 1, 0)]]
    exchange(store, clauses=[narrow, wide])
    assert exchange(store, clauses=[wide, narrow]) == (None, MINUTE_US, 1, exchange(store).epoch)
    assert exchange(store, clauses=[[wide[0]._replace(need=9)]]).leases is not None


def test_a_row_that_is_gone_takes_nothing_back(make: Any, tmp_path: Path) -> None:
    time = make.time()
    store = FileStore(tmp_path, clock=time.clock)
    leased = exchange(store, clauses=want(1)).leases
    assert leased is not None
    time.now += 60
    exchange(store, clauses=want(1))
    exchange(store, [Change("w", leased[0][0], -1, MINUTE_US)])
    assert exchange(store, clauses=want(1)).wait_us == MINUTE_US


def test_more_than_the_limit_never_fits_in_a_file(make: Any, tmp_path: Path) -> None:
    assert exchange(FileStore(tmp_path), clauses=want(1, need=2)).wait_us == NEVER


def test_a_locked_file_is_waited_for(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiq.policy.limits.file_store.LOCK_TIMEOUT_S", 0.01)
    time = make.time()
    store = FileStore(tmp_path, clock=time.clock)
    exchange(store)
    holder = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    limits = limiter(make, time, store, RateLimit(1))

    async def work() -> float:
        with pytest.raises(PolicyError, match="locked by another process") as caught:
            await limits.acquire(make.request(interactive=True))
        assert (caught.value.status, caught.value.retry_after_s) == (503, 1.0)
        waiting = asyncio.create_task(limits.acquire(make.request()))
        await time.sleep(3)
        holder.execute("ROLLBACK")
        return (await waiting).waited_s

    with pytest.warns(UserWarning, match="requests to 'chat' wait"):
        assert 3 <= time.run(work()) <= 5
    holder.close()


def test_a_damaged_file_fails_closed_and_says_what_to_do(make: Any, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database" * 100)
    time = make.time()
    limits = limiter(make, time, FileStore(tmp_path, clock=time.clock), RateLimit(1))
    for interactive in (True, False):
        with pytest.raises(PolicyError, match="delete it") as caught:
            time.run(limits.acquire(make.request(interactive=interactive)))
        assert caught.value.status == 503


def test_a_file_that_is_deleted_is_told_what_was_used(make: Any, tmp_path: Path) -> None:
    time = make.time()
    limits = limiter(make, time, FileStore(tmp_path, clock=time.clock), RateLimit(5))

    async def work() -> list[float]:
        await asyncio.gather(*(limits.acquire(make.request()) for _ in range(5)))
        for path in tmp_path.glob(f"{FILE}*"):
            path.unlink()
        return [(await limits.acquire(make.request())).waited_s]

    assert time.run(work())[0] >= 60


class HeldUp:
    """A store whose process is held up between its answer and the use of it, so many seconds each time."""

    forgets = False

    def __init__(self, store: LimitStore, time: Any, *seconds: float) -> None:
        self.store, self.time, self.seconds, self.asked = store, time, list(seconds), 0

    async def exchange(self, changes: Any, clauses: Any) -> Leased:
        answer = await self.store.exchange(changes, clauses)
        if clauses:
            self.asked += 1
            self.time.now += self.seconds.pop(0) if self.seconds else 0
        return answer

    async def close(self) -> None:
        await self.store.close()


@pytest.mark.parametrize("held_up_s", [0.0005, 0.004, 0.05, 0.9, 1.1, 70])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_process_that_is_held_up_does_not_use_what_counts_no_more(
    make: Any, tmp_path: Path, held_up_s: float, at_once: bool
) -> None:
    time = make.time()
    slow = limiter(make, time, HeldUp(FileStore(tmp_path, clock=time.clock), time, held_up_s), RateLimit(1))
    other = limiter(make, time, FileStore(tmp_path, clock=time.clock), RateLimit(1))

    async def work() -> tuple[float, float]:
        await slow.acquire(make.request(interactive=at_once))
        used = time.now
        await other.acquire(make.request())
        return used, time.now

    used, next_used = time.run(work())
    assert used >= 1000 + held_up_s
    assert 60 <= next_used - used <= 60 + 1.05


def test_a_store_that_takes_its_time_is_given_it(make: Any, tmp_path: Path) -> None:
    time = make.time()
    store = HeldUp(FileStore(tmp_path, clock=time.clock), time, *[0.3] * 20)
    limits = limiter(make, time, store, RateLimit(5))

    async def work() -> None:
        for _ in range(5):
            await limits.acquire(make.request())

    time.run(work())
    assert store.asked == 6  # the first answer came too late


def test_those_who_were_granted_go_on_before_the_store_is_asked_for_others(make: Any, tmp_path: Path) -> None:
    time = make.time()
    store = HeldUp(FileStore(tmp_path, clock=time.clock), time, *[0.001] * 20)
    limits = limiter(make, time, store, RateLimit(5))

    async def work() -> list[int]:
        asked = []

        async def ask() -> None:
            await limits.acquire(make.request())
            asked.append(store.asked)

        await asyncio.gather(*(ask() for _ in range(3)))
        return asked

    assert time.run(work()) == [1, 2, 3]


def test_what_is_leased_for_two_requests_at_once_is_used_or_goes_back(make: Any, tmp_path: Path) -> None:
    class Slow(FileStore):
        async def exchange(self, changes: Any, clauses: Any) -> Leased:
            answer = await super().exchange(changes, clauses)
            await asyncio.sleep(0)
            return answer

    time = make.time()
    store = Slow(tmp_path, clock=time.clock)
    book = LeasedBook(store, time.clock, time.sleep)
    limits = RateLimiter(make.endpoint(limits=[RateLimit(6400)]), time.clock, time.sleep, book=book)

    async def work() -> None:
        for _ in range(10):
            await asyncio.gather(*(limits.acquire(make.request(f"user{n}", interactive=True)) for n in range(8)))
            await time.sleep(1)
        await book.close()

    time.run(work())
    with sqlite3.connect(tmp_path / FILE) as db:
        assert db.execute("SELECT amount FROM used WHERE name NOT LIKE '%asked'").fetchall() == [(80,)]
    db.close()


class Away:
    """A store that answers only now and then."""

    forgets = True

    def __init__(self, store: FileStore) -> None:
        self.store, self.away, self.changes = store, True, list[Change]()

    async def exchange(self, changes: Any, clauses: Any) -> Leased:
        if self.away:
            raise StoreUnavailable("Redis at cache:6379 does not answer")
        self.changes += changes
        return await self.store.exchange(changes, clauses)

    async def close(self) -> None:
        await self.store.close()


def test_a_batch_waits_for_a_store_that_is_away_until_its_deadline(make: Any, tmp_path: Path) -> None:
    time = make.time()
    store = Away(FileStore(tmp_path, clock=time.clock))
    limits = limiter(make, time, store, RateLimit(5))

    async def work() -> Any:
        asked = [make.request(), make.request(deadline_s=time.now + 10)]
        waiting = [asyncio.create_task(limits.acquire(request)) for request in asked]
        await time.sleep(30)
        store.away = False
        return await asyncio.gather(*waiting, return_exceptions=True)

    with pytest.warns(UserWarning, match="does not answer"):
        granted, refused = time.run(work())
    assert 30 <= granted.waited_s <= 32
    assert refused.status == 503 and "nothing is asked" in refused.reason


def test_what_may_have_been_given_back_is_not_given_back_again(make: Any, tmp_path: Path) -> None:
    time = make.time()
    store = Away(FileStore(tmp_path, clock=time.clock))
    store.away = False
    limits = limiter(make, time, store, RateLimit(5))

    async def work() -> None:
        grant = await limits.acquire(make.request())
        store.away = True
        limits.release(grant)
        await time.sleep(5)
        store.away = False
        await limits.acquire(make.request())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        time.run(work())
    assert not [change for change in store.changes if change.amount < 0]


@pytest.mark.parametrize("secret", [None, Secret("hunter2", "secrets/redis/password")])
def test_a_redis_that_is_not_there_is_said_without_its_password(make: Any, secret: Secret | None) -> None:
    pytest.importorskip("redis")
    own = Settings(limits_store="redis", limits_redis_url="redis://127.0.0.1:1/0", limits_redis_password=secret)
    book = open_book(own, Path("unused"))
    limits = RateLimiter(make.endpoint(limits=[RateLimit(5)]), make.time().clock, book=book)

    async def work() -> None:
        try:
            await limits.acquire(make.request(interactive=True))
        finally:
            await book.close()

    with pytest.raises(PolicyError, match=r"Redis at 127\.0\.0\.1:1/0 does not answer \(ConnectionError\)") as caught:
        asyncio.run(work())
    assert caught.value.status == 503 and "hunter2" not in str(caught.value)


def test_the_settings_say_where_limits_are_counted(tmp_path: Path) -> None:
    assert isinstance(open_book(Settings(limits_store="memory"), tmp_path), MemoryBook)
    assert isinstance(open_book(Settings(), tmp_path), LeasedBook)
    assert list(tmp_path.iterdir()) == []
