"""`aiq serve --workers 2`: limits, tokens, the ledger and the counts of two processes are those of one."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import ConfFolder
from tests.contract.test_serve_clients import SAID, Served, serving
from tests.processes import PATIENCE_S

ASKED, ALLOWED = 60, 20


def ask(served: Served, name: str = "limited") -> httpx.Response:
    with served.http() as http:  # a connection of its own, so that both workers are asked
        return http.post(f"/serving-endpoints/{name}/invocations", json={"messages": SAID})


def samples(served: Served, token: str) -> dict[str, float]:
    with served.http(token) as http:
        reply = http.get("/metrics")
    assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/plain")
    lines = (line.rpartition(" ") for line in reply.text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def summed(found: dict[str, float], pattern: str) -> float:
    return sum(value for name, value in found.items() if re.match(pattern, name))


def test_two_workers_keep_one_limit_one_ledger_and_one_count(
    conf: ConfFolder, home: Path, ledger_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    limit = {"calls": ALLOWED, "key": "endpoint", "renewal_period": "minute"}
    conf.endpoint("limited", gateway={"rate_limits": [limit]})
    with serving(conf.path, home, "--workers", "2") as running:
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda _: ask(running), range(ASKED)))
        codes = [reply.status_code for reply in replies]
        assert codes.count(200) == ALLOWED and codes.count(429) == ASKED - ALLOWED
        answered_by = {reply.headers["x-request-id"][:24] for reply in replies}
        latest = time.monotonic() + PATIENCE_S
        while len(answered_by) < 2 and time.monotonic() < latest:  # who takes a connection is the kernel's choice
            answered_by.add(httpx.get(f"{running.url}/healthz", trust_env=False).headers["x-request-id"][:24])
        admin = running.tokens.create("boss@example.com", ["admins"])
        counted = samples(running, admin)
        with running.http() as http:
            assert http.get("/metrics").status_code == 403
    assert len(answered_by) == 2
    assert summed(counted, r'aiq_requests_total\{.*status="ok"') == ALLOWED
    assert summed(counted, r"aiq_requests_total\{") == ASKED
    assert summed(counted, r"gen_ai_client_inference_duration_seconds_count\{") == ALLOWED
    rows = ledger_rows("system.aiq.calls")
    assert [row["status"] for row in rows].count("ok") == ALLOWED and len(rows) == ASKED
    tokens = sum(row["output_tokens"] or 0 for row in rows)
    assert summed(counted, r"gen_ai_client_inference_usage_output_tokens_total\{") == tokens


def test_a_worker_that_is_killed_is_replaced(conf: ConfFolder, home: Path) -> None:
    with serving(conf.path, home, "--workers", "2") as running:
        assert ask(running, "chat").status_code == 200
        parent = running.process.pid
        (first, _) = workers = children(parent)
        os.kill(first, signal.SIGKILL)
        latest = time.monotonic() + PATIENCE_S
        while (first in children(parent) or len(children(parent)) < len(workers)) and time.monotonic() < latest:
            time.sleep(0.05)
        assert first not in children(parent) and len(children(parent)) == 2
        assert ask(running, "chat").status_code == 200


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(each) for each in found if b"aiq.serve.workers" in Path(f"/proc/{each}/cmdline").read_bytes()]


def test_counts_of_one_process(conf: ConfFolder, home: Path) -> None:
    with serving(conf.path, home) as running:
        admin = running.tokens.create("boss@example.com", ["admins"])
        assert ask(running, "chat").status_code == 200
        found = samples(running, admin)
        assert httpx.get(f"{running.url}/metrics", trust_env=False).status_code == 401
    assert summed(found, r'aiq_requests_total\{endpoint="chat",error_type="",status="ok"\}') == 1
    assert found["aiq_in_flight"] == 1  # the one that asks
    assert not any("ada@" in name or "hello" in name for name in found)
