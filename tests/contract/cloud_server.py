"""What a cloud has beside its models, small and real: metadata services, a token service. Each call is remembered."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import orjson


class Asked(NamedTuple):
    """A request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    fields: dict[str, str]
    """Those of the query and of a form."""


Answer = Callable[[Asked], tuple[int, bytes]]


class CloudServer:
    """Answers a path, without its query, as it was told to; 404 else."""

    def __init__(self, url: str) -> None:
        self.url, self.answers, self.asked = url, dict[str, Answer](), list[Asked]()

    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [asked.path for asked in self.asked]

    def json(self, path: str, body: Callable[[Asked], Any]) -> None:
        """Answers with JSON."""
        self.answers[path] = lambda asked: (200, orjson.dumps(body(asked)))


@contextmanager
def cloud_server(context: Any = None) -> Iterator[CloudServer]:
    """A server on 127.0.0.1; with `context` (ssl) over TLS."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
            fields = dict(parse_qsl(parts.query)) | dict(parse_qsl(body))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, parts.path, headers, fields)
            server.asked.append(asked)
            status, answer = server.answers.get(parts.path, lambda asked: (404, b"{}"))(asked)
            self.send_response(status)
            self.send_header("content-type", "text/xml" if answer.startswith(b"<") else "application/json")
            self.send_header("metadata-flavor", "Google")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, *_: Any) -> None:
            return

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    scheme = "http"
    if context is not None:
        scheme = "https"
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    server = CloudServer(f"{scheme}://127.0.0.1:{httpd.server_address[1]}")
    thread = threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def in_seconds(seconds: float) -> str:
    """A time of RFC 3339."""
    return datetime.datetime.fromtimestamp(time.time() + seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
