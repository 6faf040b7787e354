"""A session over an empty home, alerts over a table that a test changes, and servers that take notifications."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import aiq
from aiq.alerts.alert import Alert, Operand
from aiq.engines.duckdb.session import DuckDBSession


class Moving:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 30, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def add(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def moving() -> Moving:
    return Moving()


class Post(NamedTuple):
    """What a webhook's server got."""

    path: str
    headers: dict[str, str]
    """By their names in lower case."""
    body: Any


class Hook(ThreadingHTTPServer):
    """Answers with `status`, and keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[Post] = []
        self.status, self.location = 200, ""
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append(
            Post(self.path, {name.lower(): value for name, value in self.headers.items()}, json.loads(data))
        )
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("location", self.server.location)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Place:
    """A folder with a conf and a home."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.conf, self.home = folder, folder / "conf", folder / "home"
        (self.conf / "endpoints").mkdir(parents=True)

    def settings(self, **values: Any) -> None:
        (self.conf / "aiq.yml").write_text(yaml.safe_dump(values))

    def connect(self) -> DuckDBSession:
        return aiq.connect(conf=self.conf, home=self.home)

    def lines(self, name: str = "log.jsonl") -> list[dict[str, Any]]:
        """What a file of notifications has."""
        path = self.conf / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def of_table(**changes: Any) -> Alert:
    """An alert that is triggered where the table `numbers` has one above 10 in its first row."""
    made = Alert(
        "high", "High", "high.dbalert.json", "SELECT v FROM numbers", Operand("v"), "GREATER_THAN", Decimal(10)
    )
    return made._replace(**changes)
