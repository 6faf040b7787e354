"""Measures what a request costs in what a cluster shares: Redis, Delta commits, files. The units of docs/scale.md.

    python tests/benchmarks/units.py [--rows N]

Needs redis-server. Counts and bytes do not depend on how busy the machine is; CPU hardly does.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clients import Work, aiq_session
from latencies import Latency
from run import provider

from aiq.answers.shared import Entry, Shared
from aiq.answers.shared_redis import RedisAnswers

SLICE_ROWS = 512
"""Requests that a worker claims at once."""
KEPT_ROWS = (1, 4, 64)
"""Answers that are stored together: a worker with 64 in flight at 1 s latency, one with 1,024, one that a provider
answers at once.
"""
ANSWER = json.dumps("The product works well, but it is slow to start. " * 4)


@contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    """A Redis of its own, without persistence. Yields its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            yield port
        finally:
            server.terminate()


def answers(rows: int, together: int) -> dict[str, float]:
    """A statement's answers shared through Redis, some together: what one request costs it."""
    import redis

    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as port:
        client = redis.Redis(port=port)
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
        store = RedisAnswers(f"redis://127.0.0.1:{port}/0", lambda: None)
        statement = Shared("s", b"s" * 16, b"c" * 16, "host:1:1", True, "s")
        keys = [number.to_bytes(16, "big") for number in range(rows)]
        before, _ = client.info(), client.config_resetstat()
        for start in range(0, rows, SLICE_ROWS):
            mine = store.claim(statement, keys[start : start + SLICE_ROWS]).mine
            for at in range(0, len(mine), together):
                store.keep(statement, [Entry(key, ANSWER) for key in mine[at : at + together]])
        after, commands = client.info(), client.info("commandstats")
        cpu_s = sum(after[f"used_cpu_{kind}"] - before[f"used_cpu_{kind}"] for kind in ("user", "sys"))
        store.close()
        return {
            "commands a request": sum(stats["calls"] for stats in commands.values()) / rows,
            "CPU us a request": cpu_s / rows * 1e6,
            "bytes an answer": (after["used_memory"] - before["used_memory"]) / rows,
        }


def ledger(rows: int) -> dict[str, float]:
    """The rows of the ledger: bytes by table, and the CPU of committing them."""
    with provider(Latency(), 0) as url, aiq_session(Work(url, rows, rows, 256)) as session:
        session.sql("SELECT id, ai_query('chat', body) AS answer FROM reviews")
        home = session.gateway.ledger.home
        found = {}
        for table in session.gateway.ledger.tables.info():
            found[f"bytes a row of {table.name}"] = table.bytes / max(table.rows, 1)
        logs = [path for path in (home / "tables").rglob("_delta_log/*.json") if "calls" in str(path)]
        found["bytes of a commit's log entry"] = sum(path.stat().st_size for path in logs) / len(logs)
        return found


def commits(count: int) -> dict[str, float]:
    """Small appends to one table, as many hosts make them: CPU of one, at the beginning and after `count`."""
    import pyarrow as pa
    from deltalake import DeltaTable, write_deltalake

    with tempfile.TemporaryDirectory() as folder:
        rows = pa.table({"id": range(500), "text": [ANSWER] * 500})
        write_deltalake(folder, rows, configuration={"delta.checkpointInterval": "20"})  # as aiq/ledger/delta.py has it
        spent = []
        for _ in range(count):
            started = time.process_time()
            write_deltalake(DeltaTable(folder), rows, mode="append")
            spent.append(time.process_time() - started)
        return {"CPU ms of a commit, first 20": sum(spent[:20]) / 20 * 1e3, "last 20": sum(spent[-20:]) / 20 * 1e3}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=20_000)
    given = arguments.parse_args()
    for title, figures in (
        *((f"Shared answers in Redis, {each} together", answers(given.rows, each)) for each in KEPT_ROWS),
        ("Ledger", ledger(given.rows)),
        ("Delta commits of 500 rows, 200 of them", commits(200)),
    ):
        print(f"## {title}")
        for name, value in figures.items():
            print(f"{name}: {value:,.1f}")


if __name__ == "__main__":
    main()
