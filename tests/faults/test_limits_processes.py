"""Limits hold for several processes together, also when one is killed or its store goes away for a while.

Periods are two seconds here, where users have a minute; the rules know no difference.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

WORKER = """
import asyncio, sys, time
from pathlib import Path
from aiq.config.endpoint import Endpoint, RateLimit
from aiq.errors import PolicyError
from aiq.policy.limits import RateLimiter
from aiq.policy.limits.file_store import FileStore
from aiq.policy.limits.leases import LeasedBook
from aiq.request import Caller, Request, Usage

place, unit, amount, period_s, seconds, need, tasks, used = sys.argv[1:9]
if place.startswith("redis://"):
    from aiq.policy.limits.redis_store import RedisStore
    store = RedisStore(place)
else:
    store = FileStore(Path(place))

async def main():
    limit = RateLimit(float(amount), unit=unit, period_s=float(period_s) if unit != "concurrency" else 0)
    endpoint = Endpoint("chat", "e", "llm/v1/chat", (), "f", aiq_rate_limits=(limit,))
    book = LeasedBook(store, time.monotonic)
    limiter = RateLimiter(endpoint, time.monotonic, book=book, most_usd=lambda r: float(need))
    end = time.monotonic() + float(seconds)
    body = {"messages": [{"role": "user", "content": "x" * 39}], "max_tokens": max(1, int(float(need)) - 10)}
    async def work(number):
        request = Request("chat", "llm/v1/chat", body, Caller(f"user{number % 2}"), "s", deadline_s=end)
        while time.monotonic() < end:
            try:
                grant = await limiter.acquire(request)
            except PolicyError as error:
                if error.status == 429:
                    return
                await asyncio.sleep(0.05)
                continue
            sys.stdout.write(f"{time.monotonic():.6f} {grant.charges[0][2]}\\n")
            sys.stdout.flush()
            if unit == "concurrency":
                await asyncio.sleep(0.02)
                sys.stdout.write(f"{time.monotonic():.6f} -1\\n")
                sys.stdout.flush()
            limiter.settle(grant, Usage(10, int(used)) if used != "-" else None, None)
            await asyncio.sleep(0)
    print("ready", flush=True)
    sys.stdin.readline()
    await asyncio.gather(*(work(number) for number in range(int(tasks))))
    await book.close()

asyncio.run(main())
"""

PERIOD_S = 2.0
JITTER_S = 0.1
"""A worker notes a grant a little after the store gave it, some more than others."""

Log = list[tuple[float, int]]


class Workers:
    """Processes that ask as fast as they may, and what they were granted: time and amount, in order."""

    def __init__(self, place: str, folder: Path) -> None:
        self.place, self.folder = place, folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(
        self,
        count: int,
        amount: float,
        *,
        unit: str = "calls",
        seconds: float = 2.5 * PERIOD_S,
        period_s: float = PERIOD_S,
        need: float = 1,
        tasks: int = 8,
        used: str = "-",
    ) -> None:
        """All start asking at the same time."""
        started = []
        for _ in range(count):
            path = self.folder / f"log-{len(self.processes)}"
            words = [self.place, unit, amount, period_s, seconds, need, tasks, used]
            process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", WORKER, *map(str, words)],
                stdin=subprocess.PIPE,
                stdout=path.open("wb"),
            )
            self.processes.append(process)
            started.append((process, path))
        for process, path in started:
            while b"ready" not in path.read_bytes():
                assert process.poll() is None, "a worker died"
                time.sleep(0.02)
        for process, _ in started:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.close()

    def log(self) -> Log:
        """Waits for all of them."""
        for process in self.processes:
            process.wait(timeout=60)
        return self.so_far()

    def so_far(self) -> Log:
        lines = [
            line.split()
            for number in range(len(self.processes))
            for line in (self.folder / f"log-{number}").read_text().splitlines(keepends=True)
            if line.endswith("\n") and not line.startswith("ready")
        ]
        return sorted((float(at), int(amount)) for at, amount in lines)


def most_in_any(period_s: float, log: Log) -> int:
    """The largest sum of amounts in any interval of this length."""
    times, sums = [at for at, _ in log], [0]
    for _, amount in log:
        sums.append(sums[-1] + amount)
    return max(sums[bisect.bisect_left(times, at + period_s)] - sums[number] for number, at in enumerate(times))


def used_of_the_possible(log: Log, amount: float) -> float:
    """How long it should have taken to use up the limit as often as it was, by how long it took."""
    total, full, took_s = 0, 0, 0.0
    for at, n in log:
        if total >= (full + 1) * amount - n / 2:
            full, took_s = full + 1, at - log[0][0]
        total += n
    return full * PERIOD_S / took_s


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Redis:
    """A redis-server without persistence, that can be killed and started again."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )
        for _ in range(500):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.01)
        raise AssertionError("redis-server does not start")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.fixture
def redis() -> Iterator[Redis]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    pytest.importorskip("redis")
    server = Redis()
    yield server
    server.kill()


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
    shared.start(4, amount)
    log = shared.log()
    assert most_in_any(PERIOD_S - JITTER_S, log) <= amount
    assert used_of_the_possible(log, amount) >= 0.95


def test_four_processes_share_tokens(shared: Workers) -> None:
    shared.start(4, 4000, unit="tokens", need=50)
    log = shared.log()
    assert most_in_any(PERIOD_S - JITTER_S, log) <= 4000
    assert used_of_the_possible(log, 4000) >= 0.95


def test_what_was_reserved_and_not_used_serves_others(shared: Workers) -> None:
    shared.start(4, 4000, unit="tokens", need=100, used="10", seconds=PERIOD_S / 2)
    assert len(shared.log()) > 100  # 40 reservations of 100 tokens, of which 20 are used


def test_four_processes_never_have_more_in_flight_than_the_limit(shared: Workers) -> None:
    shared.start(4, 5, unit="concurrency", seconds=2)
    in_flight = most = 0
    log = shared.log()
    for _, change in sorted(log):
        in_flight += change
        most = max(most, in_flight)
    assert most <= 5 and len(log) > 100


def test_a_budget_in_dollars_is_not_overshot(shared: Workers) -> None:
    shared.start(4, 10, unit="cost_usd", need=0.01, seconds=2, period_s=3600, tasks=256)
    assert sum(amount for _, amount in shared.log()) == 10 * 10**9


def test_the_charges_of_a_killed_process_stay(workers: Callable[[str], Workers]) -> None:
    group = workers("")
    group.start(1, 50, seconds=30, period_s=4.0)
    while len(group.so_far()) < 50:
        time.sleep(0.02)
    group.processes[0].kill()
    group.start(1, 50, seconds=2, period_s=4.0)
    group.log()
    assert most_in_any(4.0 - JITTER_S, group.so_far()) <= 50


def test_a_stopped_process_holds_nobody_up_for_long(workers: Callable[[str], Workers]) -> None:
    group = workers("")
    group.start(2, 2000, seconds=4 * PERIOD_S)
    time.sleep(0.5)
    group.processes[0].send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    group.processes[1].wait(timeout=60)
    group.processes[0].send_signal(signal.SIGCONT)
    log = group.log()
    after = [(at, n) for at, n in log if stopped + PERIOD_S < at < stopped + 2 * PERIOD_S]
    assert sum(n for _, n in after) >= 0.9 * 2000


def test_a_redis_that_goes_away_is_waited_for_and_forgets_nothing(
    redis: Redis, workers: Callable[[str], Workers]
) -> None:
    group = workers(redis.url)
    group.start(4, 1000, seconds=5 * PERIOD_S)
    time.sleep(0.5 * PERIOD_S)
    redis.kill()
    time.sleep(0.25 * PERIOD_S)
    redis.start()
    back = time.monotonic()
    log = group.log()
    assert any(at > back for at, _ in log)
    assert most_in_any(PERIOD_S - JITTER_S, log) <= 1000
