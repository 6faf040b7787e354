"""The Gemini API: content, streams and embeddings under `/v1beta/models/<model>:<method>`, and the list of models.

Source: the Gemini API reference and its guides to rate limits and errors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

from aiq.simulator import faults
from aiq.simulator.exchange import Counts, Said, Task, VendorCall, VendorRequest, VendorRoute
from aiq.simulator.limits import MinuteAndDay
from aiq.simulator.refusal import VendorError
from aiq.simulator.vendors import gemini_format, gemini_requests
from aiq.simulator.vendors.base import Base, Keys
from aiq.simulator.vendors.google_errors import WORDS, body_of

_PATH = re.compile(rb"/(?:v1|v1beta|v1alpha)/(?:models|tunedModels)/([^/:]+):(\w+)")
_LIST = b"/v1beta/models"
METHODS: dict[str, Task] = {
    "generateContent": "chat",
    "streamGenerateContent": "chat",
    "embedContent": "embeddings",
    "batchEmbedContents": "embeddings",
}


class Gemini(Base):
    """The Gemini API with a key."""

    name = "gemini"
    bases: tuple[tuple[str, str], ...] = (("Gemini API", ""),)
    limits = MinuteAndDay
    answers_faults = frozenset({"content-filter"})
    not_json = "Invalid JSON payload received. Unexpected token.\n"
    broken_event = b'data: {"candidates": [{"conte\r\n\r\n'
    vertex = False

    def route(self, method: bytes, path: bytes, query: bytes) -> VendorRoute | None:
        """A model's method, or the list of models."""
        if path == _LIST and method == b"GET":
            return VendorRoute("page", form="models")
        found = _PATH.fullmatch(path)
        return None if found is None else self.method(method, found[1], found[2], query)

    def method(self, method: bytes, model: bytes, called: bytes, query: bytes) -> VendorRoute:
        """The route of a method of a model."""
        name, form = unquote(model.decode("latin-1")), called.decode("latin-1")
        if form not in METHODS or method != b"POST":
            raise VendorError(
                404, f"models/{name} is not found for API version v1beta, or is not supported for {form}."
            )
        stream = form == "streamGenerateContent"
        if stream and parse_qs(query).get(b"alt") != [b"sse"]:
            raise VendorError(400, "The simulator streams with alt=sse only.")
        return VendorRoute(METHODS[form], name, form, stream)

    def authenticate(self, call: VendorCall, route: VendorRoute, keys: Keys, now_s: float) -> str:
        """`x-goog-api-key`, or `key` in the query."""
        key = call.headers.get(b"x-goog-api-key", b"")
        if not key:
            key = parse_qs(call.target.partition(b"?")[2]).get(b"key", [b""])[-1]
        if not key:
            raise VendorError(
                403,
                "Method doesn't allow unregistered callers (callers without established identity). Please use API Key "
                "or other form of API consumer identity to call this API.",
            )
        text = key.decode("latin-1")
        if not keys.accepts(text):
            words = "API key not valid. Please pass a valid API key."
            raise VendorError(400, words, details={"reason": "API_KEY_INVALID"})
        return text

    def page(self, call: VendorCall, route: VendorRoute, now_s: float) -> bytes:
        """The list of models."""
        names = ["gemini-2.5-flash", "gemini-3-flash-preview", "gemini-embedding-001", *faults.model_names()]
        return orjson.dumps({"models": [{"name": f"models/{name}", "displayName": name} for name in names]})

    def read(self, body: dict[str, Any], route: VendorRoute) -> VendorRequest:
        """Content, or texts to embed."""
        read = gemini_requests.generate if route.task == "chat" else gemini_requests.embed
        return read(body, route, vertex=self.vertex)

    def full_body(self, asked: VendorRequest, said: Said) -> dict[str, Any]:
        """A `GenerateContentResponse`."""
        return gemini_format.completion(asked, said)

    def stream(self, asked: VendorRequest, said: Said) -> list[bytes]:
        """The same in parts."""
        return gemini_format.stream(asked, said)

    def embeddings(self, asked: VendorRequest, vectors: Sequence[list[float]], counts: Counts | None) -> dict[str, Any]:
        """Values, as the method has them."""
        return gemini_format.embeddings(asked, vectors, counts)

    def refusal(self, fault: str) -> VendorError | None:
        """Google's words."""
        found = WORDS.get("429" if fault.startswith("429") else fault)
        return None if found is None else VendorError(found[0], found[1])

    def refused(self, refusal: VendorError, route: VendorRoute | None, number: int) -> tuple[bytes, bytes]:
        """google.rpc.Status, in a list where a stream was asked for."""
        body = body_of(refusal, route.model if route is not None else "")
        return orjson.dumps([body] if route is not None and route.stream else body), b""

    def hint(self, seconds: float) -> bytes:
        """No header: RetryInfo in the body says it."""
        return b""

    def error_event(self, refusal: VendorError) -> bytes:
        """An error that stands in the stream as it is, over several lines and not as an event."""
        return orjson.dumps(body_of(refusal, ""), option=orjson.OPT_INDENT_2).replace(b"\n", b"\r\n") + b"\r\n"
