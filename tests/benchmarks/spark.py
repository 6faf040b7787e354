"""Measures aiq on Spark beside a hand-written `pandas_udf` with `AsyncOpenAI`, all in one run, and prints Markdown.

    python tests/benchmarks/spark.py [--rows N] [--latency-rows N] [--rounds N] [--only NAME] [--json FILE]

One `local[2]` application runs them all, in interleaved rounds; CPU is that of the driver, its JVM and the Python
workers together. The hand-written function is tens of times slower and gets a tenth of the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from clients import MODEL, _provider, prompt
from latencies import Latency
from run import provider

SLOTS, IN_FLIGHT = 2, 128
"""Tasks at once, and requests in flight of each."""
WARM_UP_ROWS = 1280
"""Enough for Java to have compiled what it runs often."""
BY_HAND = "pandas_udf, AsyncOpenAI"

Client = Callable[[Any], Any]


def session(folder: Path, url: str) -> Any:
    """A SparkSession that is registered, with one endpoint `chat` before the provider; tables are on."""
    from pyspark.sql import SparkSession

    import aiq

    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    builder = SparkSession.builder.master(f"local[{SLOTS}]").appName("aiq benchmark")
    for name, value in {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.shuffle.partitions": str(SLOTS),
    }.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    (folder / "conf" / "endpoints").mkdir(parents=True)
    (folder / "conf" / "aiq.yml").write_text(f"concurrency: {IN_FLIGHT}\nprogress: false\n")
    model = {"name": MODEL, "provider": "openai", "task": "llm/v1/chat"}
    keys = {"openai_api_base": f"{url}/v1", "openai_api_key_plaintext": "sk-benchmark"}
    table = {"enabled": True, "catalog_name": "main", "schema_name": "bench", "table_name_prefix": "chat"}
    endpoint = {
        "name": "chat",
        "config": {"served_entities": [{"name": "bench", "external_model": {**model, "openai_config": keys}}]},
        "ai_gateway": {"usage_tracking_config": {"enabled": True}, "inference_table_config": table},
    }
    (folder / "conf" / "endpoints" / "chat.json").write_text(json.dumps(endpoint))
    aiq.register(spark, conf=folder / "conf", home=folder / "home", user="bench@example.com")
    return spark


def clients(spark: Any, folder: Path, url: str) -> dict[str, Client]:
    """What takes a frame with `id` and `body` and gives one with an answer for each row, by name."""
    import pandas as pd
    from pyspark.sql.functions import pandas_udf

    import aiq

    lifted = aiq.connect(spark, conf=folder / "conf", home=folder / "home", user="bench@example.com")
    statement = "SELECT id, ai_query('chat', body) AS answer FROM reviews"

    def by_sql(rows: Any) -> Any:
        rows.createOrReplaceTempView("reviews")
        return spark.sql(statement)

    def by_session(rows: Any) -> Any:
        rows.createOrReplaceTempView("reviews")
        return lifted.sql(statement)

    def by_hand(bodies: pd.Series) -> pd.Series:
        import asyncio

        from openai import AsyncOpenAI

        async def answers() -> list[str]:
            places = asyncio.Semaphore(IN_FLIGHT)
            async with AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-benchmark") as client:

                async def answer(body: str) -> str:
                    async with places:
                        said = await client.chat.completions.create(
                            model=MODEL, messages=[{"role": "user", "content": body}]
                        )
                    return said.choices[0].message.content or ""

                return await asyncio.gather(*map(answer, bodies))

        return pd.Series(asyncio.run(answers()))

    by_hand.__annotations__ = {"bodies": pd.Series, "return": pd.Series}
    function: Any = pandas_udf(by_hand, "string")
    return {
        "aiq.enrich": lambda rows: aiq.enrich(rows, "answer", "chat", "body"),
        "aiq session.sql": by_session,
        "aiq.functions.ai_query": lambda rows: rows.select("id", aiq.functions.ai_query("chat", "body")),
        "aiq in spark.sql": by_sql,
        BY_HAND: lambda rows: rows.select("id", function("body")),
    }


def frame(spark: Any, folder: Path, first: int, count: int) -> Any:
    """Rows with distinct prompts from number `first` on, in files, in as many partitions as there are slots."""
    from pyspark.sql import functions as F

    place, text = str(folder / f"rows-{first}"), prompt(0)[12:]
    numbers = spark.range(first, first + count, 1, SLOTS)
    body = F.concat(F.lpad(F.col("id").cast("string"), 12, "0"), F.lit(text))
    numbers.select("id", body.alias("body")).write.mode("overwrite").parquet(place)
    return spark.read.parquet(place)


def cpu_s() -> float:
    """CPU seconds so far of this process and all it started: those that are over, too, where they were waited for."""
    own = psutil.Process()
    spent = 0.0
    for process in [own, *own.children(recursive=True)]:
        try:
            spent += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return spent


def measured(spark: Any, client: Client, rows: Any, count: int, url: str) -> dict[str, float]:
    """Wall and CPU seconds of answering all rows; their ledger is in the tables at the end."""
    _provider(url, "/__reset")
    cpu, started = cpu_s(), time.perf_counter()
    client(rows).write.format("noop").mode("overwrite").save()
    figures = {"wall_s": time.perf_counter() - started, "cpu_s": cpu_s() - cpu, "rows": count}
    calls = _provider(url, "/__stats")["requests"]
    if calls != count:
        raise SystemExit(f"{calls} calls for {count} rows")
    return figures


def scenario(latency: Latency, rows: int, rounds: int, only: str | None) -> dict[str, list[dict[str, float]]]:
    """The figures of each client in each round."""
    found: dict[str, list[dict[str, float]]] = {}
    with provider(latency, 0) as url, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spark = session(folder, url)
        chosen = {name: client for name, client in clients(spark, folder, url).items() if only in (None, name)}
        first = 0
        for number in range(-1, rounds):  # the first is a warm-up
            for client_name, client in chosen.items():
                count = WARM_UP_ROWS if number < 0 else max(1, rows // 10) if client_name == BY_HAND else rows
                asked = frame(spark, folder, first, count)
                first += count
                figures = measured(spark, client, asked, count, url)
                print(f"{client_name}: {figures}", file=sys.stderr, flush=True)
                if number >= 0:
                    found.setdefault(client_name, []).append(figures)
        spark.stop()
    return found


def table(found: dict[str, list[dict[str, float]]], latency: Latency) -> str:
    """Markdown, medians of the rounds; ratios to the hand-written function are taken inside a round."""
    head = "| client | rows/s | CPU us a row | rows/s beside by hand | CPU beside by hand | of the ideal schedule |"
    lines = [head, "|---|---:|---:|---:|---:|---:|"]
    for name, rounds in found.items():
        rate = statistics.median(r["rows"] / r["wall_s"] for r in rounds)
        cpu = statistics.median(r["cpu_s"] / r["rows"] for r in rounds)
        cells = [name, f"{rate:,.0f}", f"{cpu * 1e6:,.0f}"]
        hands = found.get(BY_HAND, [])
        pairs = list(zip(rounds, hands, strict=True)) if hands else []
        for ratio in (
            [(r["rows"] / r["wall_s"]) / (h["rows"] / h["wall_s"]) for r, h in pairs],
            [(h["cpu_s"] / h["rows"]) / (r["cpu_s"] / r["rows"]) for r, h in pairs],
            [r["rows"] * latency.median_ms / 1000 / (SLOTS * IN_FLIGHT) / r["wall_s"] for r in rounds],
        ):
            value = statistics.median(ratio) if ratio else 0.0
            cells.append(f"{value:.2f}" if value else "-")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def scenarios(given: argparse.Namespace) -> Iterator[tuple[str, Latency, int]]:
    if given.rows:
        yield "A provider that answers at once", Latency(), given.rows
    if given.latency_rows:
        yield "A provider that takes 200 ms", Latency(200), given.latency_rows


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=20_000)
    arguments.add_argument("--latency-rows", type=int, default=51_200)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--only", help="one client's name")
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    warnings.simplefilter("ignore")
    all_found = {}
    for title, latency, rows in scenarios(given):
        found = all_found[title] = scenario(latency, rows, given.rounds, given.only)
        print(f"## {title}: {rows:,} rows, {SLOTS} tasks with {IN_FLIGHT} in flight each\n\n{table(found, latency)}\n")
        sys.stdout.flush()
    if given.json:
        given.json.write_text(json.dumps(all_found, indent=1))


if __name__ == "__main__":
    main()
