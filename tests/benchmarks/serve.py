"""Measures `aiq serve` on one core: requests and streams a second, CPU each, and what it adds to an answer's time.

    python tests/benchmarks/serve.py [--requests N] [--rate N] [--rounds N] [--json FILE]
                                     [--portkey FILE] [--mlflow PYTHON] [--tensorzero PYTHON]

The server runs on the first core, with tokens, a rate limit, usage and payload tables on; the load and a provider that
answers at once (server.py) on the last. Beside it, in the same rounds: LiteLLM's proxy from `.venv-litellm`, Portkey's
gateway where `--portkey` names its build/start-server.js, MLflow's and TensorZero's where their options name the Python
of an environment with `mlflow[gateway]` or `tensorzero`. On a machine that does other things, the CPU of the server's
process for each request is the figure to trust.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httptools
import uvloop

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FIRST, LAST = 0, max(0, (os.cpu_count() or 1) - 1)
CONNECTIONS = 64
WARM_UP = 200
TICKS = os.sysconf("SC_CLK_TCK")
ENDPOINT = """\
name: chat
config:
  served_entities:
    - name: main
      external_model:
        name: gpt-4o-mini
        provider: openai
        task: llm/v1/chat
        openai_config: {{openai_api_key_plaintext: sk-x, openai_api_base: "{url}/v1"}}
ai_gateway:
  usage_tracking_config: {{enabled: true}}
  inference_table_config: {{enabled: true, catalog_name: main, schema_name: ai, table_name_prefix: chat}}
  rate_limits:
    - {{calls: 100000000, key: endpoint, renewal_period: minute}}
    - {{calls: 100000000, key: user, renewal_period: minute}}
"""
LITELLM = """\
model_list:
  - model_name: chat
    litellm_params: {{model: openai/gpt-4o-mini, api_key: sk-x, api_base: "{url}/v1"}}
general_settings: {{master_key: sk-master}}
litellm_settings: {{num_retries: 0, telemetry: false}}
"""
MLFLOW = """\
endpoints:
  - name: chat
    endpoint_type: llm/v1/chat
    model: {{provider: openai, name: gpt-4o-mini, config: {{openai_api_key: sk-x, openai_api_base: "{url}/v1"}}}}
"""
TENSORZERO = """\
[gateway]
observability.enabled = false
[models.chat]
routing = ["main"]
[models.chat.providers.main]
type = "openai"
model_name = "gpt-4o-mini"
api_base = "{url}/v1/"
api_key_location = "none"
"""
TENSORZERO_PROGRAM = """\
import asyncio, sys, tensorzero
async def main():
    stores = dict.fromkeys(("clickhouse_url", "postgres_url", "valkey_url"))
    gateway = await tensorzero._start_http_gateway(config_file=sys.argv[1], async_setup=True, **stores)
    print(gateway.base_url, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
"""The gateway that the client library has within it, which chooses its port itself."""


class Server(NamedTuple):
    """A running gateway, and what a request to it has beside its body."""

    name: str
    port: int
    pid: int
    headers: dict[str, str]
    path: str = "/v1/chat/completions"
    model: str | None = "chat"


class Figures(NamedTuple):
    """Of one run: a second, CPU of the server, and milliseconds from the request to its last byte."""

    per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


class _Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._done: asyncio.Future[int] | None = None
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionError("the server hung up"))

    def on_message_complete(self) -> None:
        assert self._done is not None
        self._done.set_result(self._parser.get_status_code())
        self._parser = httptools.HttpResponseParser(self)

    async def ask(self, request: bytes) -> None:
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        status = await self._done
        if status != 200:
            raise RuntimeError(f"HTTP {status}")


def _request(server: Server, *, stream: bool) -> bytes:
    said: dict[str, Any] = {"messages": [{"role": "user", "content": "It works, but it is slow to start. " * 8}]}
    if server.model is not None:
        said["model"] = server.model
    body = json.dumps({**said, "stream": True} if stream else said).encode()
    headers = {**server.headers, "host": "x", "content-type": "application/json", "content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {server.path} HTTP/1.1\r\n{lines}\r\n".encode() + body


async def _load(server: Server, requests: int, *, stream: bool, rate: float | None) -> Figures:
    """As fast as CONNECTIONS allow, or at a rate, where an answer's time counts from when it was due."""
    loop = asyncio.get_running_loop()
    clients = [(await loop.create_connection(_Client, "127.0.0.1", server.port))[1] for _ in range(CONNECTIONS)]
    request, times = _request(server, stream=stream), list[float]()

    async def run(count: int, rate: float | None) -> None:
        started, numbers = time.perf_counter(), iter(range(count))  # the loop's own time is in milliseconds

        async def work(client: _Client) -> None:
            for number in numbers:
                due = time.perf_counter()
                if rate is not None:
                    due = started + number / rate
                    await asyncio.sleep(max(0.0, due - time.perf_counter()))
                await client.ask(request)
                times.append(time.perf_counter() - due)

        await asyncio.gather(*map(work, clients))

    await run(WARM_UP, None)
    times.clear()
    cpu, started = _cpu_s(server.pid), time.perf_counter()
    await run(requests, rate)
    wall_s, cpu_s = time.perf_counter() - started, _cpu_s(server.pid) - cpu
    for client in clients:
        client._transport.close()
    times.sort()
    p50, p99 = (1000 * times[int(part * (len(times) - 1))] for part in (0.5, 0.99))
    return Figures(requests / wall_s, 1e6 * cpu_s / requests, p50, p99)


def _cpu_s(pid: int) -> float:
    """User and system time of a process and of what it started."""
    total = 0
    for task in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = task.read_text().rpartition(")")[2].split()
            if int(task.parent.name) == pid or int(fields[1]) == pid:
                total += int(fields[11]) + int(fields[12])
    return total / TICKS


@contextlib.contextmanager
def _process(command: list[str], core: int, log: Path, **own: str) -> Iterator[subprocess.Popen[str]]:
    """A process on a core. Of the provider, which says where it is, what it says is read; of others it is logged."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            stdout=subprocess.PIPE if core == LAST else errors,
            stderr=errors,
            text=True,
            env={**os.environ, **own},
            cwd=log.parent,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port: int = bound.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{process.args} does not listen:\n{log.read_text()[-2000:]}")
        time.sleep(0.2)


def _said_port(process: subprocess.Popen[str], log: Path) -> int:
    """The port of a server that chooses it, and says it when it listens."""
    deadline = time.monotonic() + 120
    while (found := re.search(r"http://127\.0\.0\.1:(\d+)/", log.read_text())) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{process.args} does not listen:\n{log.read_text()[-2000:]}")
        time.sleep(0.2)
    return int(found[1])


@contextlib.contextmanager
def _servers(
    folder: Path, url: str, portkey: Path | None, mlflow: Path | None = None, tensorzero: Path | None = None
) -> Iterator[list[Server]]:
    """`aiq serve`, and the peers that are there."""
    with contextlib.ExitStack() as stack:
        (folder / "conf" / "endpoints").mkdir(parents=True)
        (folder / "conf" / "endpoints" / "chat.yml").write_text(ENDPOINT.format(url=url))
        (folder / "conf" / "aiq.yml").write_text("progress: false\n")
        homes = ["--conf", str(folder / "conf"), "--home", str(folder / "home")]
        cli = [sys.executable, "-m", "aiq.cli"]
        token = subprocess.run(
            [*cli, "tokens", "create", "load@example.com", *homes[2:]], capture_output=True, text=True, check=True
        ).stdout
        token = next(word for word in token.split() if word.startswith("aiq-"))
        port, log = _free_port(), folder / "aiq.log"
        process = stack.enter_context(_process([*cli, "serve", "--port", str(port), *homes], FIRST, log))
        _wait_for(port, process, log)
        found = [Server("aiq serve", port, process.pid, {"authorization": f"Bearer {token}"})]
        proxy = ROOT / ".venv-litellm" / "bin" / "litellm"
        if proxy.exists():
            (folder / "litellm.yaml").write_text(LITELLM.format(url=url))
            port, log = _free_port(), folder / "litellm.log"
            words = [str(proxy), "--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(port)]
            own = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": "", "LITELLM_LOG": "ERROR"}
            process = stack.enter_context(_process(words, FIRST, log, **own))
            _wait_for(port, process, log)
            found.append(Server("LiteLLM proxy", port, process.pid, {"authorization": "Bearer sk-master"}))
        if portkey is not None:
            port, log = _free_port(), folder / "portkey.log"
            words = ["node", str(portkey), f"--port={port}", "--headless"]
            process = stack.enter_context(_process(words, FIRST, log))
            _wait_for(port, process, log)
            asks = {
                "x-portkey-provider": "openai",
                "authorization": "Bearer sk-x",
                "x-portkey-custom-host": f"{url}/v1",
            }
            found.append(Server("Portkey gateway", port, process.pid, asks))
        if mlflow is not None:
            (folder / "mlflow.yaml").write_text(MLFLOW.format(url=url))
            port, log = _free_port(), folder / "mlflow.log"
            words = [str(mlflow), "-m", "uvicorn", "mlflow.gateway.app:create_app_from_env", "--factory"]
            words += ["--port", str(port), "--no-access-log"]
            own = {"MLFLOW_GATEWAY_CONFIG": str(folder / "mlflow.yaml"), "PYTHONPATH": ""}
            process = stack.enter_context(_process(words, FIRST, log, **own))
            _wait_for(port, process, log)
            found.append(Server("MLflow AI Gateway", port, process.pid, {}, "/gateway/chat/invocations", None))
        if tensorzero is not None:
            (folder / "tensorzero.toml").write_text(TENSORZERO.format(url=url))
            log = folder / "tensorzero.log"
            words = [str(tensorzero), "-c", TENSORZERO_PROGRAM, str(folder / "tensorzero.toml")]
            process = stack.enter_context(_process(words, FIRST, log, PYTHONPATH=""))
            port = _said_port(process, log)
            path, model = "/openai/v1/chat/completions", "tensorzero::model_name::chat"
            found.append(Server("TensorZero gateway", port, process.pid, {}, path, model))
        yield found


def measured(given: argparse.Namespace) -> dict[str, dict[str, Figures]]:
    """By server and run, the medians of the rounds."""
    rounds: dict[str, dict[str, list[Figures]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        provider = [sys.executable, str(HERE / "server.py")]
        with _process(provider, LAST, folder / "provider.log") as process:
            assert process.stdout is not None
            url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
            with _servers(folder, url, given.portkey, given.mlflow, given.tensorzero) as servers:
                for _ in range(given.rounds):
                    for server in servers:
                        of = rounds.setdefault(server.name, {})
                        share = given.requests if server.name == "aiq serve" else max(500, given.requests // 10)
                        for run, stream, rate in (
                            ("whole", False, None),
                            ("streams", True, None),
                            (f"{given.rate:g}/s", False, given.rate),
                        ):
                            if rate is not None and server.name != "aiq serve":
                                continue
                            try:
                                figures = uvloop.run(_load(server, share, stream=stream, rate=rate))
                            except (RuntimeError, OSError) as error:
                                print(f"{server.name}, {run}: not measured, {error}", file=sys.stderr)
                            else:
                                of.setdefault(run, []).append(figures)
    return {
        server: {run: Figures(*map(statistics.median, zip(*each, strict=True))) for run, each in of.items()}
        for server, of in rounds.items()
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--requests", type=int, default=20_000)
    arguments.add_argument("--rate", type=float, default=1000.0)
    arguments.add_argument("--rounds", type=int, default=3)
    for peer in ("portkey", "mlflow", "tensorzero"):
        arguments.add_argument(f"--{peer}", type=Path)
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    os.sched_setaffinity(0, {LAST})
    found = measured(given)
    print("| Server | Run | a second | CPU of the server, µs each | p50 ms | p99 ms |\n|---|---|---|---|---|---|")
    for server, runs in found.items():
        for run, figures in runs.items():
            print(
                f"| {server} | {run} | {figures.per_s:,.0f} | {figures.cpu_us:,.0f} | {figures.p50_ms:.2f} | "
                f"{figures.p99_ms:.2f} |"
            )
    if given.json is not None:
        given.json.write_text(
            json.dumps({name: {run: f._asdict() for run, f in of.items()} for name, of in found.items()})
        )


if __name__ == "__main__":
    main()
