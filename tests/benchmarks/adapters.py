"""What each provider's adapter costs a row: encode a prompt of 300 characters and decode its answer, beside OpenAI's.

`python tests/benchmarks/adapters.py`: microseconds a row, the least of 7 rounds of all adapters in turn.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))

import aiq
from aiq.config.endpoint import Settings
from aiq.gateway.access_token import AccessToken
from aiq.providers.base import HttpResponse
from aiq.request import Caller, Request
from aiq.simulator.process import SimulatorProcess
from aiq.transport import open_transport
from tests.contract.providers import cases

ROWS, ROUNDS = 3000, 7
PROMPT = "The quick brown fox jumps over the lazy dog. " * 7


async def answered(adapter: Any, request: Request) -> HttpResponse:
    """The simulator's answer, as it goes over the wire."""
    transport = open_transport(Settings())
    try:
        if adapter.token_request() is not None:
            await AccessToken(adapter, time.monotonic).renew(transport)
        found = await transport.send(adapter.encode(request), 10)
        return found._replace(body=bytes(found.body))
    finally:
        await transport.close()


def main() -> None:
    with SimulatorProcess.start() as simulator, tempfile.TemporaryDirectory() as place:
        found = {}
        for number, case in enumerate(cases(simulator.url)):
            folder = Path(place) / str(number)
            (folder / "endpoints").mkdir(parents=True)
            body = {"name": "e", "config": {"served_entities": [case.entity]}}
            (folder / "endpoints" / "e.yml").write_text(yaml.safe_dump(body))
            servers = {"endpoints": {"e": {"model_server": case.server}}} if case.server else {}
            (folder / "aiq.yml").write_text(yaml.safe_dump(servers))
            with aiq.connect(conf=folder, home=Path(place) / "home") as session:
                endpoint = session.gateway.open_endpoint("e")
                [target] = session.gateway.routes["e"].targets.values()
            body = {"messages": [{"role": "user", "content": PROMPT}], "temperature": 0.0, "max_tokens": 100}
            request = Request("e", endpoint.task, body, Caller("ann"), "st")
            found[case.name] = (target.adapter, request, asyncio.run(answered(target.adapter, request)))
        least = dict.fromkeys(found, float("inf"))
        for _ in range(ROUNDS):
            for name, (adapter, request, response) in found.items():
                start = time.process_time()
                for _ in range(ROWS):
                    adapter.encode(request)
                    adapter.decode(request, response)
                least[name] = min(least[name], (time.process_time() - start) / ROWS * 1e6)
    print(f"{'provider':<28}{'us a row':>10}{'over openai':>14}")
    for name, cost in least.items():
        print(f"{name:<28}{cost:>10.1f}{cost - least['openai']:>14.1f}")


if __name__ == "__main__":
    main()
