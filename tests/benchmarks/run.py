"""Measures aiq beside the clients it stands in for, all in one run, and prints the figures as Markdown.

    python tests/benchmarks/run.py [--peers-python PATH] [--only NAME] [--rows N] [--rounds N] [--time-scale N]
        [--json FILE]

The provider runs on the first CPU core and each client, in a process of its own, on the last. The rounds are
interleaved and a ratio is taken inside one round, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from latencies import Latency

HERE = Path(__file__).parent
TIMEOUT_S = 300.0
BASELINE = "aiq"

Figures = dict[str, Any]


class Run(NamedTuple):
    """One client in one scenario. `distinct` None: all prompts differ."""

    client: str
    rows: int
    in_flight: int = 256
    distinct: int | None = None

    def ideal_s(self, latency: Latency) -> float:
        """Seconds that a client which costs nothing would need."""
        return latency.ideal_s(range(self.distinct or self.rows), self.in_flight)


class Scenario(NamedTuple):
    """What is compared with what, before a provider of a known latency."""

    name: str
    title: str
    latency: Latency
    runs: Sequence[Run]


class Measured(NamedTuple):
    """The figures of one run in every round; None and a reason where it could not be measured."""

    run: Run
    rounds: list[Figures]
    missing: str | None = None


def scenarios(rows: int, time_scale: float) -> list[Scenario]:
    """`rows` of the batch path; clients that are tens of times slower get a tenth of them.

    Log-normal latencies are those of a real provider, divided by `time_scale`.
    """
    few = max(rows // 10, 1)
    slow = {"AsyncOpenAI", "litellm"}
    clients = ("aiq", "aiq-calls-only", "pyreqwest", "aiohttp", "AsyncOpenAI", "litellm")
    return [
        Scenario(
            "A",
            "Batch path: a provider that answers at once, distinct prompts of about 300 bytes",
            Latency(),
            [Run(client, few if client in slow else rows) for client in clients],
        ),
        Scenario(
            "B",
            "A provider that takes 200 ms",
            Latency(200),
            [Run("aiq", 5000), Run("pyreqwest", 5000), Run("AsyncOpenAI", 5000)],
        ),
        Scenario(
            "C",
            "A million rows with 1,000 distinct prompts, answered at once",
            Latency(),
            [Run("aiq", 1_000_000, 256, 1000)],
        ),
        Scenario("D", "1,024 in flight at a provider that takes 200 ms", Latency(200), [Run("aiq", 10_000, 1024)]),
        Scenario(
            "E",
            f"Log-normal latency, median 0.8 s and 99th percentile 8 s, {time_scale:g} times as fast",
            Latency(800 / time_scale, 8000 / time_scale),
            [Run(client, 10_000, in_flight) for in_flight in (256, 1024) for client in ("aiq", "aiq-registered")],
        ),
        Scenario(
            "F",
            "10,000 rows with 500 distinct prompts, answered at once",
            Latency(),
            [Run("aiq", 10_000, 256, 500), Run("aiq-registered", 10_000, 256, 500)],
        ),
    ]


@contextlib.contextmanager
def provider(latency: Latency, core: int) -> Iterator[str]:
    """The benchmark provider in a process of its own. Yields its URL."""
    command = [sys.executable, str(HERE / "server.py"), "--core", str(core), "--latency-ms", str(latency.median_ms)]
    if latency.p99_ms is not None:
        command += ["--p99-ms", str(latency.p99_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            if not port:
                raise SystemExit("the benchmark provider did not start")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def measure(run: Run, url: str, python: str, core: int) -> Figures | str:
    """The figures of one client in a fresh process, or why there are none."""
    command = [python, str(HERE / "clients.py"), run.client, "--url", url, "--rows", str(run.rows)]
    command += ["--in-flight", str(run.in_flight), "--core", str(core)]
    if run.distinct is not None:
        command += ["--distinct", str(run.distinct)]
    path = os.pathsep.join(filter(None, [str(HERE.parents[1]), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return f"not done after {TIMEOUT_S:g} s"
    if done.returncode == 0:
        figures: Figures = json.loads(done.stdout.splitlines()[-1])
        return figures
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return "not installed" if "No module named" in last else f"failed: {last[:200]}"


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median, and in brackets minimum and maximum."""
    low, middle, high = (f"{value:,.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({low}-{high})"


def table(scenario: Scenario, found: Sequence[Measured]) -> list[str]:
    """The scenario as a Markdown table. Ratios are medians of the rounds' own ratios to aiq."""
    baselines = {m.run.in_flight: m for m in found if m.run.client == BASELINE and m.rounds}
    columns = ["client", "rows", "in flight", "rows/s", "CPU us/row", "aiq is faster by", "CPU against aiq", "wall s"]
    columns += ["wall / ideal"] if scenario.latency.median_ms else []
    columns += ["peak MB", "provider calls"]
    lines = [f"### {scenario.name}. {scenario.title}", ""]
    lines += ["| " + " | ".join(columns) + " |", "|---|" + "---:|" * (len(columns) - 1)]
    for run, rounds, missing in found:
        first = rounds[0] if rounds else {}
        name = f"{run.client} {first.get('version') or ''}".strip()
        if missing is not None:
            lines.append("| " + " | ".join([name, missing, *[""] * (len(columns) - 2)]) + " |")
            continue
        cells = [name, f"{run.rows:,}"]
        # A provider that answers at once never sees two requests together.
        cells.append(
            f"{max(r['most_in_flight'] for r in rounds):,}" if scenario.latency.median_ms else f"{run.in_flight:,}"
        )
        cells += [spread([run.rows / r["wall_s"] for r in rounds]), spread([_cpu_us(run, r) for r in rounds])]
        baseline = baselines.get(run.in_flight)
        if baseline is None:
            cells += ["", ""]
        else:
            pairs = list(zip(rounds, baseline.rounds, strict=False))
            speed = [(baseline.run.rows / b["wall_s"]) / (run.rows / r["wall_s"]) for r, b in pairs]
            cpu = [_cpu_us(run, r) / _cpu_us(baseline.run, b) for r, b in pairs]
            cells += [spread(speed, 2), spread(cpu, 2)]
        cells.append(spread([r["wall_s"] for r in rounds], 2))
        if scenario.latency.median_ms:
            cells.append(spread([r["wall_s"] / run.ideal_s(scenario.latency) for r in rounds], 2))
        cells += [f"{max(r['peak_mb'] for r in rounds):,.0f}", f"{max(r['calls'] for r in rounds):,}"]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _cpu_us(run: Run, figures: Figures) -> float:
    return float(figures["cpu_s"]) / run.rows * 1e6


def _cores() -> tuple[int, int]:
    """The provider's core and the client's; the same one where there is only one."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return allowed[0], allowed[-1]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", action="append", default=[], help="a client, or a scenario's letter; repeatable")
    arguments.add_argument("--rows", type=int, default=20_000, help="rows of scenario A")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--time-scale", type=float, default=20, help="how many times as fast scenario E runs")
    arguments.add_argument("--peers-python", default=sys.executable, help="an interpreter that has litellm")
    arguments.add_argument("--json", type=Path, help="where to write all figures")
    given = arguments.parse_args()
    letters = {name.upper() for name in given.only if len(name) == 1}
    clients = {name for name in given.only if len(name) > 1}
    server_core, client_core = _cores()

    found: dict[str, list[Measured]] = {}
    chosen = [s for s in scenarios(given.rows, given.time_scale) if not letters or s.name in letters]
    chosen = [s._replace(runs=[r for r in s.runs if not clients or r.client in clients]) for s in chosen]
    for scenario in chosen:
        results = found[scenario.name] = [Measured(run, []) for run in scenario.runs]
        with provider(scenario.latency, server_core) as url:
            for number in range(given.rounds):
                for place, (run, rounds, missing) in enumerate(results):
                    if missing is not None:
                        continue
                    print(f"{scenario.name} round {number + 1}: {run.client}", file=sys.stderr, flush=True)
                    python = given.peers_python if run.client == "litellm" else sys.executable
                    figures = measure(run, url, python, client_core)
                    if isinstance(figures, str):
                        results[place] = Measured(run, [], figures)
                    else:
                        rounds.append(figures)
    cores = "one core for both" if server_core == client_core else "provider on one core, client on another"
    lines = [f"Python {platform.python_version()}, {given.rounds} rounds, {cores}; median (minimum-maximum).", ""]
    for scenario in chosen:
        if scenario.runs:
            lines += table(scenario, found[scenario.name])
    print("\n".join(lines))
    if given.json:
        rows = [
            {"scenario": name, **m.run._asdict(), "missing": m.missing, "rounds": m.rounds}
            for name, measured in found.items()
            for m in measured
        ]
        given.json.write_text(json.dumps({"python": platform.python_version(), "runs": rows}, indent=1))


if __name__ == "__main__":
    main()
