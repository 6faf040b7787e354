"""Measures how much of a provider's quota is used, and how often it refuses, with and without its headers.

    python tests/benchmarks/quota.py [--seconds N] [--latency-ms N] [--processes N] [--only NAME]

A simulated provider with a quota that is full at first, and more work than it allows. Used: what was admitted, of a
full bucket and what refills it in the time. Refused: of all requests, those that got a 429.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from aiq.config.connections import OpenAIConfig, Secret
from aiq.config.endpoint import Config, Endpoint, ServedEntity, Settings
from aiq.errors import RequestFailed
from aiq.gateway import Gateway
from aiq.ledger.ledger import Ledger
from aiq.policy.concurrency import Gate
from aiq.providers import adapter_for
from aiq.request import Caller, Request
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import Latency, Profile, Quota
from aiq.simulator.tokens import chat_tokens

BUSY = 96
"""Rows that a process wants answered at any moment; 64 of them may be in flight."""


class Work(NamedTuple):
    """Requests whose `max_tokens` are spread evenly between two numbers, before a quota."""

    quota: Quota
    least_tokens: int
    most_tokens: int


WORKS = {
    "600 requests": Work(Quota(rpm=600), 16, 16),
    "600,000 tokens": Work(Quota(tpm=600_000), 100, 1000),
    "1,200 requests and 600,000 tokens": Work(Quota(rpm=1200, tpm=600_000), 10, 1000),
}


async def ask(url: str, work: Work, seconds: float, seed: int, home: Path) -> dict[str, int]:
    """Keeps an endpoint busy for so long. The tokens that each request takes of the quota, by its body's hash."""
    config = OpenAIConfig(api_key=Secret("sk-test", "benchmark"), api_base=f"{url}/v1")
    entity = ServedEntity("id", "main", "openai", "gpt-4o-mini", "llm/v1/chat", config)
    endpoint = Endpoint("chat", "e", "llm/v1/chat", (entity,), "f")
    ledger = Ledger.open(home)
    gateway = Gateway(Config("conf", Settings(limits_store="memory"), {"chat": endpoint}), ledger)
    gateway.open_endpoint("chat")
    adapter, rng, taken = adapter_for(entity), random.Random(seed), dict[str, int]()
    end = time.monotonic() + seconds

    async def busy(number: int) -> int:
        row = failed = 0
        while time.monotonic() < end:
            row += 1
            words = f"{seed} {number} {row} " + "word " * rng.randint(1, 60)
            most = rng.randint(work.least_tokens, work.most_tokens)
            body = {"messages": [{"role": "user", "content": words}], "max_tokens": most}
            request = Request("chat", "llm/v1/chat", body, Caller("ann"), "s")
            body_hash = blake2b(adapter.encode(request).body, digest_size=8).hexdigest()
            taken[body_hash] = max(chat_tokens(body["messages"]), most)  # type: ignore[arg-type]
            try:
                await gateway.answer(request)
            except RequestFailed:
                failed += 1
        return failed

    tasks = [asyncio.create_task(busy(number)) for number in range(BUSY)]
    _, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    await gateway.close()
    ledger.close()
    return taken


def measure(work: Work, seconds: float, latency_ms: float, processes: int, *, blind: bool) -> str:
    """A row of the table."""
    profile = Profile(quotas=(work.quota,), latency=Latency(median_ms=latency_ms, sigma=0.5))
    with SimulatorProcess.start(profile) as simulator:
        words = [sys.executable, __file__, "--seconds", str(seconds), "--ask", simulator.url]
        words += ["--work", json.dumps(list(WORKS.values()).index(work)), *(["--blind"] if blind else [])]
        workers = [
            subprocess.Popen([*words, "--seed", str(seed)], stdout=subprocess.PIPE, text=True)
            for seed in range(processes)
        ]
        taken: dict[str, int] = {}
        for worker in workers:
            taken |= json.loads(worker.communicate()[0])
        attempts = simulator.attempts()
    start_ms = min(attempt["at_ms"] for attempt in attempts)
    attempts = [attempt for attempt in attempts if attempt["at_ms"] < start_ms + seconds * 1000]
    admitted = [attempt for attempt in attempts if attempt["status"] != 429]
    cells = []
    for limit, used in (
        (work.quota.rpm, len(admitted)),
        (work.quota.tpm, sum(taken[attempt["body_hash"]] for attempt in admitted)),
    ):
        allowed = limit * (1 + seconds / 60) if limit else 0
        cells += [f"{allowed:,.0f}", f"{used / allowed:.1%}"] if limit else ["", ""]
    refused = 1 - len(admitted) / len(attempts)
    return " | ".join([*cells, f"{len(attempts):,}", f"{refused:.2%}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--latency-ms", type=float, default=500.0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--only", default="", help="a part of the quota's name")
    for own in ("--ask", "--work", "--seed"):
        parser.add_argument(own, help=argparse.SUPPRESS)
    parser.add_argument("--blind", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ask:
        if arguments.blind:
            Gate.learn = lambda *words, **names: False  # type: ignore[method-assign]
        work = list(WORKS.values())[int(arguments.work)]
        with tempfile.TemporaryDirectory() as home:
            taken = asyncio.run(ask(arguments.ask, work, arguments.seconds, int(arguments.seed), Path(home)))
        print(json.dumps(taken))
        return
    processes, latency = arguments.processes, f"{arguments.latency_ms:g} ms (median)"
    print(f"{arguments.seconds:g} s, {processes} processes, answers after {latency}\n")
    print("| quota a minute | headers | requests allowed | used | tokens allowed | used | asked | refused |")
    print("|---|---|---|---|---|---|---|---|")
    for name, work in WORKS.items():
        if arguments.only in name:
            for blind in (False, True):
                row = measure(work, arguments.seconds, arguments.latency_ms, arguments.processes, blind=blind)
                print(f"| {name} | {'unread' if blind else 'read'} | {row} |", flush=True)


if __name__ == "__main__":
    main()
