"""The clients that are measured, one a process: `python clients.py NAME --url URL ...` prints its measurement as JSON.

Imports only the standard library until the client is known, because peers run in an environment of their own.
A small warm-up (imports, first connections, tables) comes before the measured rows and is no part of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import importlib.metadata
import json
import os
import resource
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

MODEL = "gpt-4o-mini"
WARM_UP_ROWS = 32
WARM_UP_FROM = 10**9
_TEXT = (
    "I bought this product in spring and have used it every day since. It does what it promises, the colours are "
    "right and nothing has broken, but it needs a long time to start and the manual is hard to read. Delivery took "
    "a week. Would I buy it again? Probably, at a lower price."
)
"""With the number of the row in front, a prompt of about 300 bytes."""

Ask = Callable[[str], Awaitable[str]]


class Work(NamedTuple):
    """What one client has to do. `distinct` prompts are spread over `rows` rows."""

    url: str
    rows: int
    distinct: int
    in_flight: int


class Meter:
    """Wall time, CPU of the whole process (all threads, user and system) and the provider's counts of a block."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.figures: dict[str, float] = {}

    def __enter__(self) -> Self:
        _provider(self._url, "/__reset")
        self._cpu_s, self._started = _cpu_s(), time.perf_counter()
        return self

    def __exit__(self, *exc: object) -> None:
        wall_s, cpu_s = time.perf_counter() - self._started, _cpu_s() - self._cpu_s
        counts = _provider(self._url, "/__stats")
        self.figures = {
            "wall_s": wall_s,
            "cpu_s": cpu_s,
            "peak_mb": peak_mb(),
            "calls": counts["requests"],
            "most_in_flight": counts["most_in_flight"],
        }


def prompt(number: int) -> str:
    return f"{number:012d} {_TEXT}"


def prompts(work: Work) -> Iterator[str]:
    return (prompt(row % work.distinct) for row in range(work.rows))


def peak_mb() -> float:
    """The largest resident size of this process so far, in MiB."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def aiq(work: Work, *, tables: bool = True) -> dict[str, float]:
    """The SQL batch path, ledger on; the commit to the Delta tables is a part of the statement.

    `tables` False switches usage and inference table off, so that only `system.aiq.calls` is written.
    """
    with aiq_session(work, tables=tables) as session:
        with Meter(work.url) as meter:
            result = session.sql("SELECT id, ai_query('chat', body) AS answer FROM reviews")
        _expect(work.rows, result.aggregate("count(answer)").fetchall()[0][0], "answers")
        calls = session.sql("SELECT count(*) FROM system.aiq.calls WHERE status = 'ok'").fetchall()[0][0]
        _expect(work.distinct, calls - WARM_UP_ROWS, "rows of system.aiq.calls")
        return meter.figures


def aiq_registered(work: Work) -> dict[str, float]:
    """The same rows by plain DuckDB on a registered connection: the function is called a chunk at a time."""
    with aiq_session(work) as session:
        con = session.con
        with Meter(work.url) as meter:
            con.execute("CREATE TABLE answered AS SELECT id, ai_query('chat', body) AS answer FROM reviews").fetchall()
        _expect(work.rows, con.execute("SELECT count(answer) FROM answered").fetchall()[0][0], "answers")
        return meter.figures


@contextlib.contextmanager
def aiq_session(work: Work, *, tables: bool = True) -> Iterator[Any]:
    """A session with one endpoint `chat` and a table `reviews(id, body)`, after the warm-up."""
    import aiq

    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder, "conf")
        (conf / "endpoints").mkdir(parents=True)
        (conf / "aiq.yml").write_text(f"concurrency: {work.in_flight}\n")
        endpoint = {
            "name": "chat",
            "config": {
                "served_entities": [
                    {
                        "name": "bench",
                        "external_model": {
                            "name": MODEL,
                            "provider": "openai",
                            "task": "llm/v1/chat",
                            "openai_config": {
                                "openai_api_base": f"{work.url}/v1",
                                "openai_api_key_plaintext": "sk-benchmark",
                            },
                        },
                    }
                ]
            },
            "ai_gateway": {
                "usage_tracking_config": {"enabled": tables},
                "inference_table_config": {
                    "enabled": tables,
                    "catalog_name": "main",
                    "schema_name": "bench",
                    "table_name_prefix": "chat",
                },
            },
        }
        (conf / "endpoints" / "chat.json").write_text(json.dumps(endpoint))
        with aiq.connect(conf=conf, home=Path(folder, "home"), user="bench@example.com") as session:
            body = f"lpad((%s)::VARCHAR, 12, '0') || ' {_TEXT}' AS body"
            session.con.execute(
                f"CREATE TABLE reviews AS SELECT i AS id, {body % f'i % {work.distinct}'} FROM range({work.rows}) r(i)"
            )
            session.con.execute(
                f"CREATE TABLE first AS SELECT {body % f'{WARM_UP_FROM} + i'} FROM range({WARM_UP_ROWS}) r(i)"
            )
            session.sql("SELECT ai_query('chat', body) FROM first")
            yield session


@contextlib.asynccontextmanager
async def pyreqwest(work: Work) -> AsyncIterator[Ask]:
    """The bare client that aiq's transport is built on, with the same settings."""
    import orjson
    from pyreqwest.client import ClientBuilder

    url, headers = f"{work.url}/v1/chat/completions", _headers()
    builder = ClientBuilder().runtime_multithreaded(False).max_connections(4096).pool_max_idle_per_host(4096)
    async with builder.build() as client:

        async def ask(text: str) -> str:
            response = await client.post(url).headers(headers).body_bytes(orjson.dumps(_body(text))).build().send()
            return _content(orjson.loads(memoryview(await response.bytes())))

        yield ask


@contextlib.asynccontextmanager
async def aiohttp(work: Work) -> AsyncIterator[Ask]:
    import aiohttp
    import orjson

    url = f"{work.url}/v1/chat/completions"
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=_headers()) as session:

        async def ask(text: str) -> str:
            async with session.post(url, data=orjson.dumps(_body(text))) as response:
                return _content(orjson.loads(await response.read()))

        yield ask


@contextlib.asynccontextmanager
async def async_openai(work: Work) -> AsyncIterator[Ask]:
    """OpenAI's own client as its documentation shows it (httpx underneath)."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=f"{work.url}/v1", api_key="sk-benchmark", max_retries=0) as client:

        async def ask(text: str) -> str:
            answer = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}])
            return answer.choices[0].message.content or ""

        yield ask


@contextlib.asynccontextmanager
async def litellm(work: Work) -> AsyncIterator[Ask]:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise the import fetches a price list
    client: Any = importlib.import_module("litellm")

    async def ask(text: str) -> str:
        answer = await client.acompletion(
            model=f"openai/{MODEL}",
            messages=[{"role": "user", "content": text}],
            api_base=f"{work.url}/v1",
            api_key="sk-benchmark",
            num_retries=0,
        )
        return str(answer.choices[0].message.content)

    yield ask


async def in_workers(ask: Ask, texts: Iterator[str], in_flight: int) -> int:
    """As many loops as requests in flight: the cheapest way to keep a client busy. Returns the answers."""
    answers = 0

    async def worker() -> None:
        nonlocal answers
        for text in texts:
            if await ask(text):
                answers += 1

    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return answers


async def in_gather(ask: Ask, texts: Iterator[str], in_flight: int) -> int:
    """`gather` over a semaphore: the way this is written by hand. Returns the answers."""
    semaphore = asyncio.Semaphore(in_flight)

    async def one(text: str) -> str:
        async with semaphore:
            return await ask(text)

    return sum(1 for answer in await asyncio.gather(*(one(text) for text in texts)) if answer)


async def measured(client: Any, drive: Any, work: Work) -> dict[str, float]:
    """The figures of one client of the asyncio kind."""
    async with client(work) as ask:
        await drive(ask, (prompt(WARM_UP_FROM + i) for i in range(WARM_UP_ROWS)), work.in_flight)
        with Meter(work.url) as meter:
            answers = await drive(ask, prompts(work), work.in_flight)
        _expect(work.rows, answers, "answers")
        return meter.figures


class Client(NamedTuple):
    """`package` is whose version is measured."""

    package: str
    run: Callable[[Work], dict[str, float]]


def _bare(client: Any) -> Callable[[Work], dict[str, float]]:
    def run(work: Work) -> dict[str, float]:
        import uvloop

        figures: dict[str, float] = uvloop.run(measured(client, in_workers, work))
        return figures

    return run


def _by_hand(client: Any) -> Callable[[Work], dict[str, float]]:
    return lambda work: asyncio.run(measured(client, in_gather, work))


CLIENTS = {
    "aiq": Client("aiq", aiq),
    "aiq-calls-only": Client("aiq", lambda work: aiq(work, tables=False)),
    "aiq-registered": Client("aiq", aiq_registered),
    "pyreqwest": Client("pyreqwest", _bare(pyreqwest)),
    "aiohttp": Client("aiohttp", _bare(aiohttp)),
    "AsyncOpenAI": Client("openai", _by_hand(async_openai)),
    "litellm": Client("litellm", _by_hand(litellm)),
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("client", choices=CLIENTS)
    arguments.add_argument("--url", required=True, help="http://127.0.0.1:PORT")
    arguments.add_argument("--rows", type=int, required=True)
    arguments.add_argument("--distinct", type=int, help="distinct prompts; default: all rows differ")
    arguments.add_argument("--in-flight", type=int, default=256)
    arguments.add_argument("--core", type=int, help="the CPU core to run on")
    given = arguments.parse_args()
    if given.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {given.core})
    client = CLIENTS[given.client]
    figures = client.run(Work(given.url, given.rows, given.distinct or given.rows, given.in_flight))
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        figures |= {"version": importlib.metadata.version(client.package)}  # type: ignore[dict-item]
    print(json.dumps(figures))


def _provider(url: str, path: str) -> dict[str, int]:
    with urllib.request.urlopen(url + path, timeout=10) as response:
        counts: dict[str, int] = json.load(response)
        return counts


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _headers() -> dict[str, str]:
    return {"content-type": "application/json", "authorization": "Bearer sk-benchmark"}


def _body(text: str) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}]}


def _content(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


def _expect(wanted: int, found: int, what: str) -> None:
    if wanted != found:
        sys.exit(f"expected {wanted} {what}, found {found}")


if __name__ == "__main__":
    main()
