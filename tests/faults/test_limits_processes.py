"""Limits hold for several processes together, also when one is killed or its store goes away for a while.

Periods are two seconds here, where users have a minute; the rules know no difference. Each process notes when it
charged a limit, by the limiter's own reading of the clock, and takes a number of grants, however long that takes.
"""

from __future__ import annotations

import bisect
import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE
from typing import NamedTuple

import pytest

from tests.prepared import Program, prepared
from tests.processes import PATIENCE_S, RedisServer, line_with

WORKER = """
import asyncio, os, signal, sys, time, warnings
from pathlib import Path
from aiq.config.endpoint import Endpoint, RateLimit
from aiq.errors import PolicyError
from aiq.policy.limits.book import StoreUnavailable
from aiq.policy.limits import RateLimiter, leases
from aiq.policy.limits.file_store import FileStore
from aiq.request import Caller, Request, Usage

warnings.simplefilter("ignore")
place, unit, amount, period_s, grants, need, tasks, used, patience_s, stop_after = sys.argv[1:11]
if place.startswith("redis://"):
    from aiq.policy.limits.redis_store import RedisStore
    store = RedisStore(place)
else:
    store = FileStore(Path(place))

def note(what, at_s, amount=0):
    sys.stdout.write(f"{what} {at_s:.6f} {amount}\\n")
    sys.stdout.flush()

charge, exchange = leases.Lease.charge, store.exchange

def noted_charge(lease, now_us, amount):
    note("granted", now_us / 1e6, amount)
    return charge(lease, now_us, amount)

async def noted_exchange(changes, clauses):
    try:
        answer = await exchange(changes, clauses)
    except StoreUnavailable:
        note("away", time.monotonic())
        raise
    if answer.wait_us:
        note("refused", time.monotonic())
    return answer

leases.Lease.charge, store.exchange = noted_charge, noted_exchange
left = int(grants)

async def main():
    limit = RateLimit(float(amount), unit=unit, period_s=float(period_s) if unit != "concurrency" else 0)
    endpoint = Endpoint("chat", "e", "llm/v1/chat", (), "f", aiq_rate_limits=(limit,))
    book = leases.LeasedBook(store, time.monotonic)
    limiter = RateLimiter(endpoint, time.monotonic, book=book, most_usd=lambda r: float(need))
    body = {"messages": [{"role": "user", "content": "x" * 39}], "max_tokens": max(1, int(float(need)) - 10)}
    async def work(number):
        global left
        while left:
            left -= 1
            end = time.monotonic() + float(patience_s) if patience_s != "-" else None
            try:
                grant = await limiter.acquire(
                    Request("chat", "llm/v1/chat", body, Caller(f"user{number % 2}"), "s", deadline_s=end)
                )
            except PolicyError as error:
                note("failed", time.monotonic(), error.status)
                return
            if unit == "concurrency":
                note("in", time.monotonic())
                await asyncio.sleep(0.02)
                note("out", time.monotonic())
            limiter.settle(grant, Usage(10, int(used)) if used != "-" else None, None)
            if int(grants) - left >= int(stop_after):
                note("stops", time.monotonic())
                os.kill(os.getpid(), signal.SIGSTOP)
            await asyncio.sleep(0)
    print("ready", flush=True)
    sys.stdin.readline()
    await asyncio.gather(*(work(number) for number in range(int(tasks))))
    await book.close()

asyncio.run(main())
"""

PERIOD_S = 2.0
JITTER_S = 0.02
"""The clock of a Redis, which is set by the network, may go a little slower or faster than ours."""
COUNTED_S = 1.25
"""In periods: what is leased counts until the lease has ended, up to a sixteenth of a period longer."""
LEASED = 64
"""The part of a limit that a process may hold without using it."""
FOR_EVER = 10**9


class Note(NamedTuple):
    """What a process did, and when by the machine's monotonic clock."""

    at_s: float
    what: str
    amount: int
    process: int


class Workers:
    """Processes that ask as fast as they may, and what they noted."""

    def __init__(self, place: str, folder: Path) -> None:
        self.place, self.folder = place, folder
        self.exact_s = PERIOD_S - (JITTER_S if place.startswith("redis://") else 0)
        self.processes: list[Program] = []

    def start(
        self,
        count: int,
        amount: float,
        *,
        grants: int,
        unit: str = "calls",
        period_s: float = PERIOD_S,
        need: float = 1,
        tasks: int = 8,
        used: str = "-",
        patience_s: str = "-",
        stop_after: int = FOR_EVER,
    ) -> None:
        """All start asking at the same time, each for so many grants."""
        started = []
        for _ in range(count):
            path = self.folder / f"log-{len(self.processes)}"
            words = [self.place, unit, amount, period_s, grants, need, tasks, used, patience_s, stop_after]
            with path.open("wb") as log:
                process = prepared().start("-c", WORKER, *words, stdin=PIPE, stdout=log.fileno())
            self.processes.append(process)
            started.append((process, path))
        for process, path in started:
            line_with(process, "ready", path)
        for process, _ in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.close()

    def notes(self) -> list[Note]:
        """Those of all processes, when all have ended."""
        assert [process.wait(PATIENCE_S) for process in self.processes] == [0] * len(self.processes)
        return self.so_far()

    def so_far(self) -> list[Note]:
        notes = []
        for number in range(len(self.processes)):
            for line in (self.folder / f"log-{number}").read_text().splitlines(keepends=True):
                if line.endswith("\n") and line != "ready\n":
                    what, at_s, amount = line.split()
                    notes.append(Note(float(at_s), what, int(amount), number))
        return sorted(notes)

    def until(self, holds: Callable[[list[Note]], bool]) -> None:
        """Returns when this holds of what they noted."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds(self.so_far()):
            assert time.monotonic() < deadline, self.so_far()[-20:]
            time.sleep(0.02)


def noted(notes: list[Note], what: str) -> list[Note]:
    return [note for note in notes if note.what == what]


def most_in_any(period_s: float, notes: list[Note]) -> int:
    """The largest sum of what was granted in any interval of this length."""
    granted = noted(notes, "granted")
    times, sums = [note.at_s for note in granted], [0]
    for note in granted:
        sums.append(sums[-1] + note.amount)
    return max(sums[bisect.bisect_left(times, at + period_s)] - sums[number] for number, at in enumerate(times))


def least_before_a_refusal(notes: list[Note]) -> float:
    """The smallest sum of what was granted while it still counted when somebody was made to wait."""
    granted = noted(notes, "granted")
    return min(
        (
            sum(note.amount for note in granted if refused.at_s - COUNTED_S * PERIOD_S <= note.at_s <= refused.at_s)
            for refused in noted(notes, "refused")
        ),
        default=math.inf,
    )


def held_at_most(processes: int, amount: int, need: int) -> int:
    """What processes may have leased and not used yet, with what the next of each needs."""
    return processes * (amount // LEASED + need)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Callable[[str], Workers]]:
    made: list[Workers] = []

    def make(place: str = "") -> Workers:
        folder = tmp_path / f"logs-{len(made)}"
        folder.mkdir()
        made.append(Workers(place or str(tmp_path / "home"), folder))
        return made[-1]

    yield make
    for group in made:
        for process in group.processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
            process.kill()
            process.wait()


@pytest.fixture(params=["file", "redis"])
def shared(request: pytest.FixtureRequest, workers: Callable[[str], Workers]) -> Workers:
    """Workers on one home, and on one Redis."""
    if request.param == "redis":
        return workers(request.getfixturevalue("redis").url)
    return workers("")


@pytest.mark.parametrize("amount", [10, 200, 3000])
def test_four_processes_never_exceed_a_limit_and_use_it(shared: Workers, amount: int) -> None:
    shared.start(4, amount, grants=-(-5 * amount // 8))  # two and a half times the limit together
    notes = shared.notes()
    assert most_in_any(shared.exact_s, notes) <= amount
    assert least_before_a_refusal(notes) >= amount - held_at_most(4, amount, 1)


def test_four_processes_share_tokens(shared: Workers) -> None:
    shared.start(4, 4000, unit="tokens", need=50, grants=50)
    notes = shared.notes()
    assert most_in_any(shared.exact_s, notes) <= 4000
    assert least_before_a_refusal(notes) >= 4000 - held_at_most(4, 4000, 50)


def test_what_was_reserved_and_not_used_serves_others(shared: Workers) -> None:
    # 40 reservations of 100 tokens, of which 20 are used; the others would wait for an hour.
    shared.start(4, 4000, unit="tokens", need=100, used="10", grants=30, period_s=3600)
    assert len(noted(shared.notes(), "granted")) == 4 * 30


def test_four_processes_never_have_more_in_flight_than_the_limit(shared: Workers) -> None:
    shared.start(4, 5, unit="concurrency", grants=25)
    in_flight = most = 0
    for note in shared.notes():
        in_flight += (note.what == "in") - (note.what == "out")
        most = max(most, in_flight)
    assert most <= 5 and len(noted(shared.so_far(), "out")) == 4 * 25


def test_a_budget_in_dollars_is_not_overshot(shared: Workers) -> None:
    shared.start(4, 10, unit="cost_usd", need=0.01, period_s=3600, tasks=256, grants=FOR_EVER)

    def spent(notes: list[Note]) -> int:
        return sum(note.amount for note in noted(notes, "granted"))

    def used_up_and_refused(notes: list[Note]) -> bool:
        last = max((note.at_s for note in noted(notes, "granted")), default=0.0)
        refused = {note.process for note in noted(notes, "refused") if note.at_s > last}
        return spent(notes) >= 10 * 10**9 and refused == {0, 1, 2, 3}

    shared.until(used_up_and_refused)
    assert spent(shared.so_far()) == 10 * 10**9


def test_the_charges_of_a_killed_process_stay(workers: Callable[[str], Workers]) -> None:
    group = workers("")
    group.start(1, 50, grants=FOR_EVER, period_s=3600)
    group.until(lambda notes: len(noted(notes, "granted")) == 50)
    group.processes[0].kill()
    group.processes[0].wait()
    group.start(1, 50, grants=8, period_s=3600, patience_s="1")
    assert group.processes[1].wait(PATIENCE_S) == 0
    notes = group.so_far()
    assert len(noted(notes, "granted")) == 50
    assert [note.amount for note in noted(notes, "failed")] == [429] * 8


def test_a_stopped_process_holds_nobody_up_for_long(workers: Callable[[str], Workers]) -> None:
    group = workers("")
    group.start(1, 2000, grants=FOR_EVER, stop_after=200)
    group.until(lambda notes: bool(noted(notes, "stops")))
    group.start(1, 2000, grants=5000)
    assert group.processes[1].wait(PATIENCE_S) == 0
    notes = group.so_far()
    stopped = noted(notes, "stops")[0].at_s
    alone = [note for note in notes if note.process == 1 and note.at_s > stopped]
    later = [note for note in alone if note.what == "granted" or note.at_s > stopped + COUNTED_S * PERIOD_S]
    assert len(noted(alone, "granted")) == 5000
    assert most_in_any(group.exact_s, notes) <= 2000
    assert 2000 - held_at_most(1, 2000, 1) <= least_before_a_refusal(later) < math.inf


def test_a_redis_that_goes_away_is_waited_for_and_forgets_nothing(
    redis: RedisServer, workers: Callable[[str], Workers]
) -> None:
    group = workers(redis.url)
    group.start(4, 1000, grants=FOR_EVER)

    def used_by_all(notes: list[Note]) -> bool:
        granted = noted(notes, "granted")
        return len(granted) >= 500 and {note.process for note in granted} == {0, 1, 2, 3}

    group.until(used_by_all)  # one that never used this Redis would not know that it lost something
    redis.stop()
    group.until(lambda notes: {note.process for note in noted(notes, "away")} == {0, 1, 2, 3})
    redis.start()
    back = time.monotonic()
    group.until(lambda notes: sum(note.at_s > back for note in noted(notes, "granted")) >= 1500)
    assert most_in_any(group.exact_s, group.so_far()) <= 1000
