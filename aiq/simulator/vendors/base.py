"""The seam between the simulated provider and the vendors it speaks like: pure, without a socket or a clock.

A vendor decides what a request means, whether it would accept it, and how answers and errors look. It never decides
what the model says, whether a quota is used up or which fault strikes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import orjson

from aiq.simulator.exchange import Counts, Said, VendorCall, VendorRequest, VendorRoute
from aiq.simulator.limits import TokenBuckets
from aiq.simulator.quota import Limits
from aiq.simulator.refusal import VendorError, retry_headers

SECRET = "simulated"
"""The secret of every access key where the profile pins no keys."""


class Keys:
    """The keys that are accepted: every one but `sk-invalid`, or those the profile pins.

    A pinned key may be `id:secret`, for vendors whose requests are signed and do not carry the secret.
    """

    def __init__(self, pinned: Sequence[str] | None = None) -> None:
        self._secrets: dict[str, str] | None = None
        if pinned is not None:
            self._secrets = {key: key for key in pinned}
            self._secrets |= {name: secret for key in pinned for name, colon, secret in [key.partition(":")] if colon}

    @property
    def pinned(self) -> bool:
        """Whether the profile says which keys are accepted."""
        return self._secrets is not None

    def accepts(self, key: str) -> bool:
        """Whether a key that is sent as it is, is a right one."""
        return key != "sk-invalid" if self._secrets is None else key in self._secrets

    def secret_of(self, key_id: str) -> str | None:
        """The secret that belongs to an access key's id; None where there is no such key."""
        if self._secrets is None:
            return None if key_id == "sk-invalid" else SECRET
        return self._secrets.get(key_id)


class Vendor(Protocol):
    """One provider's API. `Base` has the defaults; `vendors/__init__.py` lists the vendors in the order of asking."""

    name: str
    answers_faults: frozenset[str]
    """Faults that are an error elsewhere and a 200 here: `Said` then has the finish reason `content_filter`."""
    not_json: str
    """Its words for a body that is not JSON."""
    stream_type: bytes
    """The content type of a stream."""
    broken_event: bytes
    """A piece of a stream that cannot be read."""

    @property
    def bases(self) -> tuple[tuple[str, str], ...]:
        """What to configure in a client: whose API it is, and the path of its base URL."""
        ...

    @property
    def limits(self) -> type[Limits]:
        """How its quotas are counted and told: one of `aiq.simulator.limits`."""
        ...

    def route(self, method: bytes, path: bytes, query: bytes) -> VendorRoute | None:
        """Where a path leads; None if it is not this vendor's. The same arguments always give the same route.

        Raises VendorError where the path is this vendor's but no request to it can be answered.
        """
        ...

    def authenticate(self, call: VendorCall, route: VendorRoute, keys: Keys, now_s: float) -> str:
        """The key to count by. `now_s` is in seconds since 1970. Raises VendorError for wrong credentials."""
        ...

    def page(self, call: VendorCall, route: VendorRoute, now_s: float) -> bytes:
        """The JSON of a route that asks no model (`task` page). Raises VendorError."""
        ...

    def read(self, body: dict[str, Any], route: VendorRoute) -> VendorRequest:
        """What a request asks. Raises VendorError, in the vendor's words, for what the vendor would not accept."""
        ...

    def full_body(self, asked: VendorRequest, said: Said) -> dict[str, Any]:
        """The body of an answer to chat, completions or scoring."""
        ...

    def stream(self, asked: VendorRequest, said: Said) -> list[bytes]:
        """The same answer as pieces of a stream, the last of which is what ends it."""
        ...

    def embeddings(self, asked: VendorRequest, vectors: Sequence[list[float]], counts: Counts | None) -> dict[str, Any]:
        """The body of an answer with a vector for each input; without usage where `counts` is None."""
        ...

    def refusal(self, fault: str) -> VendorError | None:
        """This vendor's own status, kind, code and words for an error fault; None for those of `faults.py`."""
        ...

    def refused(self, refusal: VendorError, route: VendorRoute | None, number: int) -> tuple[bytes, bytes]:
        """The body of an error and header lines of its own, each ended by CRLF. `route` is None before it is known."""
        ...

    def hint(self, seconds: float) -> bytes:
        """Header lines that say when to come back after an error fault; empty where only the body says it."""
        ...

    def error_event(self, refusal: VendorError) -> bytes:
        """The piece that tells an error in the middle of a stream."""
        ...

    def stream_error(self, refusal: VendorError, route: VendorRoute) -> bytes:
        """`error_event` of one of several stream formats; a vendor with one has no need of this."""
        ...

    def headers(self, route: VendorRoute, number: int, delay_s: float) -> bytes:
        """Header lines of a good answer, each ended by CRLF. `number` is the request's, from 1."""
        ...

    def counted(self, asked: VendorRequest, counts: Counts) -> bytes:
        """Header lines that tell the tokens of an embeddings call, where its body does not."""
        ...


class Base:
    """The defaults of a vendor that speaks JSON and server-sent events."""

    name = ""
    bases: tuple[tuple[str, str], ...] = ()
    limits: type[Limits] = TokenBuckets
    answers_faults: frozenset[str] = frozenset()
    not_json = "The body of the request is not valid JSON."
    stream_type = b"text/event-stream; charset=utf-8"
    broken_event = b'data: {"choices": [{"delta": {"conte\n\n'

    def page(self, call: VendorCall, route: VendorRoute, now_s: float) -> bytes:
        """No pages."""
        raise VendorError(404, "Not found.")

    def full_body(self, asked: VendorRequest, said: Said) -> dict[str, Any]:
        """No chat."""
        raise VendorError(400, f"{asked.model} does not generate text.")

    def stream(self, asked: VendorRequest, said: Said) -> list[bytes]:
        """No streams."""
        raise VendorError(400, f"{asked.model} does not stream.")

    def embeddings(self, asked: VendorRequest, vectors: Sequence[list[float]], counts: Counts | None) -> dict[str, Any]:
        """No embeddings."""
        raise VendorError(400, f"{asked.model} does not embed.")

    def refusal(self, fault: str) -> VendorError | None:
        """No words of its own."""
        return None

    def refused(self, refusal: VendorError, route: VendorRoute | None, number: int) -> tuple[bytes, bytes]:
        """OpenAI's error body, which many imitate."""
        return orjson.dumps({"error": openai_error(refusal)}), b""

    def hint(self, seconds: float) -> bytes:
        """`retry-after` and `retry-after-ms`."""
        return retry_headers(seconds)

    def error_event(self, refusal: VendorError) -> bytes:
        """The error body as a server-sent event."""
        return b"data: %b\n\n" % self.refused(refusal, None, 0)[0]

    def stream_error(self, refusal: VendorError, route: VendorRoute) -> bytes:
        """That of the only format."""
        return self.error_event(refusal)

    def headers(self, route: VendorRoute, number: int, delay_s: float) -> bytes:
        """None."""
        return b""

    def counted(self, asked: VendorRequest, counts: Counts) -> bytes:
        """None."""
        return b""


def openai_error(refusal: VendorError) -> dict[str, Any]:
    """The object `error` of OpenAI and all who imitate it."""
    return {"message": refusal.message, "type": refusal.kind, "param": refusal.param, "code": refusal.code}


def bearer(headers: Mapping[bytes, bytes]) -> str:
    """The token of `authorization: Bearer`, empty where there is none."""
    value = headers.get(b"authorization", b"")
    return value[7:].strip().decode("latin-1") if value[:7].lower() == b"bearer " else ""


def only(method: bytes, allowed: bytes, path: bytes) -> None:
    """Refuse (405) another method than the allowed one."""
    if method != allowed:
        raise VendorError(
            405,
            f"Not allowed to {method.decode('latin-1')} on {path.decode('latin-1')}. (HINT: "
            "Perhaps you meant to use a different HTTP method?)",
            headers=b"allow: %b\r\n" % allowed,
        )


def event(value: Mapping[str, Any], name: str = "") -> bytes:
    """One server-sent event, with an `event:` line where it has a name."""
    head = f"event: {name}\n".encode() if name else b""
    return b"%bdata: %b\n\n" % (head, orjson.dumps(value))


def instructed_schema(messages: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The JSON schema that a system message names, which a model keeps to as well as it can."""
    for message in messages:
        _, found, text = (message.get("content") or "").partition("JSON schema")
        if message["role"] == "system" and found:
            try:
                schema = orjson.loads(text[text.index("{") :])
            except ValueError:
                continue
            return schema if isinstance(schema, dict) else None
    return None
