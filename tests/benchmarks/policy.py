"""What policy costs a row: the batch path with it beside the batch path without it, in one run, printed as Markdown.

    python tests/benchmarks/policy.py [--rows N] [--rounds N] [--in-flight N] [--only NAME]

Before a provider that answers at once, on the first CPU core; each variant in a process of its own on the last. The
rounds are interleaved and a ratio is taken inside one round. Limits are too high to make anybody wait.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from clients import MODEL, Meter, Work, aiq_session
from latencies import Latency
from run import TIMEOUT_S, Figures, provider, spread

OFF = "off"
LIMITS: dict[str, Any] = {
    "rate_limits": [
        {"calls": 100_000_000, "renewal_period": "minute"},
        {"calls": 100_000_000, "key": "user", "renewal_period": "minute"},
        {"tokens": 2_000_000_000, "renewal_period": "minute"},
        {"tokens": 2_000_000_000, "key": "user", "renewal_period": "minute"},
    ]
}
OWN_LIMITS = [{"concurrency": 10_000}, {"cost_usd": 1_000_000, "renewal_period": "day"}]
WORDS = ["atlas", "project x", "secret", "merger", "layoff"]
SIDE = {"pii": {"behavior": "MASK"}, "invalid_keywords": WORDS}
GUARDRAILS: dict[str, Any] = {"guardrails": {"input": SIDE, "output": SIDE}}
FALLBACK: dict[str, Any] = {"fallback_config": {"enabled": True}, "aiq": {"sticky": "user"}}
VARIANTS: dict[str, dict[str, Any]] = {
    OFF: {},
    "calls": {"rate_limits": LIMITS["rate_limits"][:2]},
    "tokens": {"rate_limits": LIMITS["rate_limits"][2:]},
    "concurrency": {"aiq": {"rate_limits": OWN_LIMITS[:1]}},
    "dollars": {"aiq": {"rate_limits": OWN_LIMITS[1:]}},
    "limits": {**LIMITS, "aiq": {"rate_limits": OWN_LIMITS}},
    "guardrails": GUARDRAILS,
    "guardrails, each row with a number": GUARDRAILS,
    "fail-over": FALLBACK,
    "all": {**LIMITS, **GUARDRAILS, **FALLBACK, "aiq": {"sticky": "user", "rate_limits": OWN_LIMITS}},
    "all, hedged": {**LIMITS, **GUARDRAILS, **FALLBACK, "aiq": {"hedging": True, "rate_limits": OWN_LIMITS}},
}
"""What is added to `ai_gateway`; usage and inference table are always on."""


def client(name: str, work: Work) -> Figures:
    """The figures of one variant, in this process."""
    with aiq_session(work) as session:
        path = Path(session.gateway.config.folder, "endpoints", "chat.json")
        endpoint = json.loads(path.read_text())
        if "fallback_config" in VARIANTS[name]:
            first = endpoint["config"]["served_entities"][0]
            endpoint["config"]["served_entities"].append({**first, "name": "other"})
            routes = [{"served_entity_name": "bench", "traffic_percentage": 100}]
            endpoint["config"]["traffic_config"] = {"routes": routes}
        endpoint["ai_gateway"] |= VARIANTS[name]
        path.write_text(json.dumps(endpoint))
        if "number" not in name:  # twelve digits may be a bank account
            letters = "translate(body[:12], '0123456789', 'abcdefghij') || body[13:] AS body"
            session.con.execute(f"CREATE OR REPLACE TABLE reviews AS SELECT id, {letters} FROM reviews")
        session.sql("SELECT ai_query('chat', body || ' again') FROM first")  # with the changed file
        with Meter(work.url) as meter:
            result = session.sql("SELECT id, ai_query('chat', body) AS answer FROM reviews")
        answered = result.aggregate("count(answer)").fetchall()[0][0]
        if answered != work.rows:
            sys.exit(f"expected {work.rows} answers, found {answered}")
        return meter.figures


def measure(name: str, work: Work, core: int) -> Figures:
    """The figures of one variant, in a fresh process."""
    command = [sys.executable, __file__, "--client", name, "--url", work.url, "--rows", str(work.rows)]
    command += ["--in-flight", str(work.in_flight), "--core", str(core)]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, env={**os.environ, "PYTHONPATH": path}, check=False
    )
    if done.returncode:
        sys.exit(f"{name} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def table(rows: int, found: dict[str, list[Figures]]) -> list[str]:
    """Rows a second and CPU a row of each variant, with the ratios and the difference to the one without policy."""

    def cpu_us(figures: Figures) -> float:
        return float(figures["cpu_s"]) / rows * 1e6

    lines = ["| policy | rows/s | of off | CPU us/row | of off | added us/row |", "|---|" + "---:|" * 5]
    for name, rounds in found.items():
        pairs = list(zip(rounds, found[OFF], strict=True))
        cells = [
            name,
            spread([rows / r["wall_s"] for r in rounds]),
            spread([off["wall_s"] / r["wall_s"] for r, off in pairs], 2),
            spread([cpu_us(r) for r in rounds], 1),
            spread([cpu_us(r) / cpu_us(off) for r, off in pairs], 2),
            spread([cpu_us(r) - cpu_us(off) for r, off in pairs], 1),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=20_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--in-flight", type=int, default=256)
    arguments.add_argument("--only", action="append", choices=VARIANTS, help="besides off; repeatable")
    arguments.add_argument("--client", choices=VARIANTS, help=argparse.SUPPRESS)
    arguments.add_argument("--url", help=argparse.SUPPRESS)
    arguments.add_argument("--core", type=int, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.client:
        if given.core is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {given.core})
        print(json.dumps(client(given.client, Work(given.url, given.rows, given.rows, given.in_flight))))
        return
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    chosen = [name for name in VARIANTS if name == OFF or not given.only or name in given.only]
    found: dict[str, list[Figures]] = {name: [] for name in chosen}
    with provider(Latency(), cores[0]) as url:
        for number in range(given.rounds):
            for name in chosen:
                print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
                found[name].append(measure(name, Work(url, given.rows, given.rows, given.in_flight), cores[-1]))
    print(f"Python {platform.python_version()}, {MODEL}, {given.rows:,} rows, {given.in_flight} in flight, ", end="")
    print(f"{given.rounds} rounds; median (minimum-maximum).\n")
    print("\n".join(table(given.rows, found)))


if __name__ == "__main__":
    main()
