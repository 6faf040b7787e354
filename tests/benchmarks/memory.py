"""How much memory a statement of distinct short prompts takes while it runs: resident MiB at each tenth of its rows.

    python tests/benchmarks/memory.py [--rows N] [--stream] [--reuse MODE] [--memory-limit SIZE] [--in-memory N]

The curve rises until as many answers are in memory as a statement keeps there, and is flat from then on. DuckDB may
use `--memory-limit` and spills the rest into a temporary folder; the provider answers at once, in a process of its own.
At the end stand the bytes that this process has written (sockets included) and its CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clients import Work, aiq_session, peak_mb
from latencies import Latency
from run import HERE, _cores, provider

sys.path.insert(0, str(HERE.parents[1]))
from aiq.batch import answers as answers_module

POLL_S = 0.1
STATEMENT = "SELECT i, ai_query('chat', 'Review ' || i) AS answer FROM range({rows}) AS r(i)"


def resident_mb() -> float:
    """Resident size of this process now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Curve:
    """Prints the resident size whenever another tenth of the rows has been asked."""

    def __init__(self, url: str, rows: int) -> None:
        self._url, self._rows = url, rows
        self._tenth, self._most = 1, 0.0
        self._started = time.perf_counter()
        self._over = threading.Event()

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """While inside."""
        self._print("start")
        thread = threading.Thread(target=self._draw)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            self._print("end")

    def _draw(self) -> None:
        while not self._over.wait(POLL_S):
            self._most = max(self._most, resident_mb())
            with urllib.request.urlopen(f"{self._url}/__stats", timeout=10) as response:
                asked = json.load(response)["requests"]
            while self._tenth <= 10 and asked >= self._rows * self._tenth // 10:
                self._print(f"{self._tenth * 10} %")
                self._tenth += 1

    def _print(self, what: str) -> None:
        size, seconds = resident_mb(), time.perf_counter() - self._started
        self._most = max(self._most, size)
        print(f"| {what} | {seconds:,.1f} | {size:,.0f} | {self._most:,.0f} |", flush=True)


def written_mb() -> float:
    """What this process has written so far, into files and sockets, in MB."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"]) / 1e6


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=300_000, help="all of them distinct")
    arguments.add_argument("--in-flight", type=int, default=256)
    arguments.add_argument("--stream", action="store_true", help="reads the rows with session.stream")
    arguments.add_argument("--reuse", default="statement", help="aiq_reuse of the statement")
    arguments.add_argument("--memory-limit", default="1GB", help="what DuckDB may use")
    arguments.add_argument("--in-memory", type=int, help="answers that a statement keeps in memory")
    given = arguments.parse_args()
    if given.in_memory is not None:
        answers_module.MAX_ANSWERS = given.in_memory
    text = f"/*+ aiq_reuse({given.reuse}) */ {STATEMENT.format(rows=given.rows)}"
    with (
        tempfile.TemporaryDirectory() as folder,
        provider(Latency(), _cores()[0]) as url,
        aiq_session(Work(url, 1, 1, given.in_flight)) as session,
    ):
        session.con.execute(f"SET memory_limit = '{given.memory_limit}'; SET temp_directory = '{folder}'")
        urllib.request.urlopen(f"{url}/__reset", timeout=10).close()
        print(f"| asked of {given.rows:,} | seconds | resident MiB | most so far |\n|---|---:|---:|---:|", flush=True)
        wrote, cpu_s = written_mb(), time.process_time()
        with Curve(url, given.rows).drawn():
            if given.stream:
                answers = sum(len(batch) - batch.column("answer").null_count for batch in session.stream(text))
            else:
                answers = session.sql(text).aggregate("count(answer)").fetchall()[0][0]
        if answers != given.rows:
            sys.exit(f"expected {given.rows:,} answers, found {answers:,}")
        print(f"\nlargest ever: {peak_mb():,.0f} MiB; written: {written_mb() - wrote:,.1f} MB", end="; ")
        print(f"CPU: {time.process_time() - cpu_s:,.1f} s")


if __name__ == "__main__":
    main()
