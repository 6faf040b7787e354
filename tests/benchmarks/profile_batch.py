"""Where aiq's batch path spends its CPU, in microseconds a row.

    python tests/benchmarks/profile_batch.py [--rows N] [--lines N]

Runs the event loop on the main thread and the session on another, because only the main thread can be sampled by a
signal wherever it is. A sample weighs the CPU its thread used since the one before, so waiting weighs nothing, and C
code (orjson, SQLite, the HTTP client) counts for the line that called it. The session's thread (Arrow in and out, the
commit to the Delta tables) runs under cProfile. Threads that Python did not start (the transport's, DuckDB's, Delta's)
are known by their sum alone. A signal is seen between two bytecodes: what the event loop does before it resumes a
coroutine may show at the first line that runs after it (`_next_iteration`, an `await`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import os
import signal
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import CodeType, FrameType
from typing import NamedTuple

import uvloop
from clients import Work, _cpu_s, aiq_session
from latencies import Latency
from run import HERE, _cores, provider

sys.path.insert(0, str(HERE.parents[1]))
PACKAGE = str(HERE.parents[1] / "aiq") + "/"
INTERVAL_S = 0.0005


class Place(NamedTuple):
    """Where a thread was; `line` is of this project's innermost frame."""

    layer: str
    function: str
    line: str


class Sampler:
    """CPU seconds of the main thread by place, while it is `on`."""

    def __init__(self) -> None:
        self.seconds: Counter[Place] = Counter()
        self._before = 0.0
        signal.signal(signal.SIGALRM, self._sample)

    def on(self) -> None:
        self._before = time.thread_time()
        signal.setitimer(signal.ITIMER_REAL, INTERVAL_S, INTERVAL_S)

    def off(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _sample(self, number: int, frame: FrameType | None) -> None:
        self.seconds[_place(frame)] += time.thread_time() - self._before  # type: ignore[assignment]
        self._before = time.thread_time()  # again, so that looking at the stack is no part of the next sample


def _place(frame: FrameType | None) -> Place:
    while frame is not None and not frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    if frame is None:
        return Place("event loop", "event loop: sockets, wake-ups, task switches", "event loop")
    layer, function = _name(frame.f_code)
    return Place(layer, function, f"{function.split(':')[0]}:{frame.f_lineno} {frame.f_code.co_qualname}")


def _name(code: CodeType) -> tuple[str, str]:
    if not code.co_filename.startswith(PACKAGE):
        return "other", f"{os.path.basename(code.co_filename)}:{code.co_firstlineno} {code.co_qualname}"
    path = code.co_filename.removeprefix(PACKAGE)
    return path.split("/")[0].removesuffix(".py"), f"{path}:{code.co_firstlineno} {code.co_qualname}"


def by_function(profile: cProfile.Profile) -> Counter[Place]:
    """CPU seconds by function. A C function counts under the one that calls it."""
    found: Counter[Place] = Counter()
    for entry in profile.getstats():
        if isinstance(entry.code, str):
            continue
        layer, name = _name(entry.code)
        found[Place(layer, name, name)] += entry.inlinetime  # type: ignore[assignment]
        for call in entry.calls or ():
            if isinstance(call.code, str):
                inner = f"{name} > {call.code.strip('<>')}"
                found[Place(layer, inner, inner)] += call.inlinetime  # type: ignore[assignment]
    return found


def thread_clocks() -> dict[str, float]:
    """CPU seconds of each Python thread so far."""
    clock = time.pthread_getcpuclockid
    return {t.name: time.clock_gettime(clock(t.ident)) for t in threading.enumerate() if t.ident is not None}


def show(title: str, seconds: Counter[Place], scale: float, lines: int, fields: tuple[str, ...]) -> None:
    print(f"## {title}: {sum(seconds.values()) * scale:.1f} us/row\n")
    for field in fields:
        totals: Counter[str] = Counter()
        for place, each in seconds.items():
            totals[getattr(place, field)] += each
        for name, each in totals.most_common(lines):
            if each * scale >= 0.1:
                print(f"{each * scale:6.2f}  {name}")
        print()


def work(given: argparse.Namespace, sampler: Sampler, server_core: int) -> None:
    """Runs the statement undisturbed, sampled and profiled, and prints what was found."""
    statement, profile = "SELECT id, ai_query('chat', body) AS answer FROM reviews", cProfile.Profile(time.thread_time)
    with (
        provider(Latency(), server_core) as url,
        aiq_session(Work(url, given.rows, given.rows, given.in_flight)) as session,
    ):
        before, cpu_s, started = thread_clocks(), _cpu_s(), time.perf_counter()
        session.sql(statement)
        wall_s, cpu_s, after = time.perf_counter() - started, _cpu_s() - cpu_s, thread_clocks()
        _on_main_thread(sampler.on)
        for _ in range(given.repeat):
            session.sql(statement)
        _on_main_thread(sampler.off)
        with profile:
            session.sql(statement)
    scale = 1e6 / given.rows
    threads = {name: after[name] - before.get(name, 0.0) for name in after}
    print(f"{given.rows:,} rows, {given.in_flight} in flight: {given.rows / wall_s:,.0f} rows/s, undisturbed\n")
    print(f"## CPU by thread: {cpu_s * scale:.1f} us/row\n")
    names = {threading.main_thread().name: "event loop", threading.current_thread().name: "session"}
    for name, each in sorted(threads.items(), key=lambda item: -item[1]):
        print(f"{each * scale:6.2f}  {names.get(name, name)}")
    print(f"{(cpu_s - sum(threads.values())) * scale:6.2f}  threads that Python did not start\n")
    show("Event loop", sampler.seconds, scale / given.repeat, given.lines, Place._fields)
    show("Session's thread", by_function(profile), scale, given.lines, ("layer", "function"))


def _on_main_thread(function: object) -> None:
    from aiq.batch.loop import call_soon

    done = threading.Event()
    call_soon(function)  # type: ignore[arg-type]
    call_soon(done.set)
    done.wait()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=20_000)
    arguments.add_argument("--in-flight", type=int, default=256)
    arguments.add_argument("--repeat", type=int, default=3, help="sampled statements")
    arguments.add_argument("--lines", type=int, default=30, help="places shown of each kind")
    given = arguments.parse_args()
    server_core, client_core = _cores()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {client_core})
    from aiq.batch import loop as background

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    background._loop = loop
    with ThreadPoolExecutor(1) as pool, contextlib.closing(loop):
        done = pool.submit(work, given, Sampler(), server_core)
        done.add_done_callback(lambda _: loop.call_soon_threadsafe(loop.stop))
        loop.run_forever()
        background._loop = None
        done.result()


if __name__ == "__main__":
    main()
