"""The faults the simulator can commit, their names, and when one strikes. Knows no route and no socket.

A fault is chosen by model name (`sim-503`), by a marker in the prompt (`[[fault:503]]`) or by rate in the
profile.
"""

from __future__ import annotations

import math
import re
from email.utils import formatdate
from functools import lru_cache
from typing import NamedTuple

from aiq.simulator.refusal import VendorError

MARKER = re.compile(rb"\[\[fault:([^\]]*)\]\]")
MARKER_TEXT = re.compile(r"\[\[fault:[^\]]*\]\]")

SHAPES = frozenset(
    {
        "timeout",  # accepts the request and never answers
        "reset",  # TCP RST before any header
        "truncated",  # half of the JSON, with a content-length that fits the half
        "cut",  # the connection is closed in the middle of the body
        "malformed",  # a body that is not JSON
        "html",  # 200 with an HTML page
        "html-502",  # a proxy's 502 page
        "empty",  # no choices, no data, no predictions
        "null",  # content null
        "refusal",  # the model refuses: content null, refusal set
        "no-usage",  # no usage object
        "absurd-usage",  # negative token counts
        "redirect",  # 302 to /redirected
        "huge",  # a valid answer of Profile.huge_bytes
        "gzip",  # content-encoding gzip, asked for or not
        "late",  # late-<ms>: headers at once, the first token after that long
        "stall",  # stall-<ms>: silent for that long after two thirds of the answer, then it goes on
        "malformed-chunk",  # one event of a stream is not JSON, in the middle of the good ones
        "error-chunk",  # after two thirds of a stream an error instead of the rest
        "no-done",  # a stream without [DONE]
        "no-end",  # a stream without [DONE], and the connection stays open
        "odd-stream",  # a byte order mark, CR LF, comments, and a piece for each byte
        "no-prefill",  # refuses messages that end with the assistant's, answers all others
        "bad-schema",  # JSON that was to conform to a schema does not quite: one thing is wrong
        "wrong-type",  # the right body as text/plain
        "huge-usage",  # token counts that nobody can have used
        "middle-usage",  # in a stream: usage only before the first token
        "duplicate-usage",  # in a stream: usage twice
        "two-finish",  # in a stream: the finish reason twice
        "huge-line",  # in a stream: an event of one line of Profile.huge_bytes
        "cr-stream",  # in a stream: lines that end with CR alone
        "slow-headers",  # slow-headers-<ms>: status line and headers drip in over that long
        "half-close",  # half of the answer, then the server closes its half of the connection
        "redirect-private",  # 307 to an address that only the server's own machine should reach
    }
)
"""Faults that deform an answer. All others are an HTTP status with the provider's error body."""

_STATUS: dict[str, tuple[int, str, str | None, str]] = {
    "400": (400, "invalid_request_error", None, "The request is invalid."),
    "401": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    "402": (402, "billing_error", "billing_required", "Payment is required."),
    "403": (403, "invalid_request_error", "permission_denied", "You are not allowed to use this model."),
    "404": (404, "invalid_request_error", "model_not_found", "The model does not exist."),
    "408": (408, "timeout_error", None, "The request timed out."),
    "409": (409, "conflict_error", None, "The request conflicts with another one."),
    "424": (424, "server_error", None, "The model failed."),
    "425": (425, "server_error", None, "Too early."),
    "429": (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    "429-retry-after": (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    "429-unhinted": (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    "429-forever": (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    "429-retry-after-seconds": (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    "429-retry-after-date": (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    "429-retry-after-past": (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    "429-retry-after-huge": (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    "429-retry-after-negative": (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    "429-retry-after-nan": (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    "429-not-ready": (429, "requests", "model_not_ready", "The model is being loaded."),
    "500": (
        500,
        "server_error",
        None,
        "The server had an error while processing your request. Sorry about that!",
    ),
    "502": (502, "server_error", None, "Bad gateway."),
    "503": (503, "server_error", None, "The engine is currently overloaded, please try again later."),
    "504": (504, "server_error", None, "Gateway timeout."),
    "529": (529, "overloaded_error", None, "Overloaded."),
    "context-length": (
        400,
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is 8192 tokens. Please reduce the length of the messages.",
    ),
    "content-filter": (
        400,
        "invalid_request_error",
        "content_policy_violation",
        "The response was filtered due to the prompt triggering the content management policy.",
    ),
    "quota-exhausted": (
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
}

NAMES = SHAPES | _STATUS.keys()
"""Every fault. A TLS handshake or a name that fails is not the simulator's to play: it serves plain HTTP."""

_ONCE_BY_NATURE = frozenset(kind for kind in _STATUS if kind.startswith("429")) - {"429-forever", "429-unhinted"}
"""A rate limit passes: these fail the first time for a distinct body. `429-forever` does not pass,
nor does `429-unhinted`, which has no header."""

_HINTED = frozenset({"429-retry-after", "429-forever"})


class Fault(NamedTuple):
    """A parsed fault.

    `percent` is 100 except for `flaky-N`; `once`: only the first attempt of a distinct body; `pause_ms` is that of
    `late-N`, `stall-N` and `slow-headers-N`.
    """

    kind: str
    once: bool
    percent: int
    pause_ms: int = 0

    def strikes(self, attempt: int, unit: float) -> bool:
        """Whether attempt number `attempt` (from 0) of a body fails. `unit` in [0, 1) is its hash."""
        if self.once and attempt > 0:
            return False
        return unit * 100 < self.percent


@lru_cache(maxsize=4096)
def parse(name: str) -> Fault | None:
    """The fault called `name` (`500`, `500-once`, `flaky-20`, `late-2000`), or None when there is none."""
    once = name.endswith("-once")
    kind = name.removesuffix("-once")
    if match := re.fullmatch(r"flaky-(\d{1,3})", kind):
        return Fault("503", once, int(match[1])) if int(match[1]) <= 100 else None
    if match := re.fullmatch(r"(late|stall|slow-headers)-(\d{1,6})", kind):
        return Fault(match[1], once, 100, int(match[2]))
    if kind in SHAPES or kind in _STATUS:
        return Fault(kind, once or kind in _ONCE_BY_NATURE, 100)
    return None


@lru_cache(maxsize=4096)
def of_model(model: str) -> Fault | None:
    """The fault a model name stands for: `sim-<fault>`. Any other model answers normally."""
    return parse(model[4:]) if model.startswith("sim-") else None


def of_body(body: bytes) -> Fault | None:
    """The fault of the first `[[fault:...]]` marker in a request body. Refuses an unknown one with 400."""
    match = MARKER.search(body)
    if match is None:
        return None
    name = match[1].decode("utf-8", "replace")
    fault = parse(name)
    if fault is None:
        raise VendorError(400, f"The simulator knows no fault {name!r}.", code="invalid_value")
    return fault


def refusal(fault: Fault) -> VendorError:
    """The error answer of a fault that is an HTTP status, in OpenAI's words."""
    status, kind, code, message = _STATUS[fault.kind]
    return VendorError(status, message, kind=kind, code=code)


def is_hinted(fault: Fault) -> bool:
    """Whether the error says when to come back."""
    return fault.kind in _HINTED


def odd_retry_after(fault: Fault, now_s: float) -> bytes:
    """The `retry-after` line of `429-retry-after-<how>`, empty for all others. `now_s` is in seconds since 1970."""
    how = fault.kind.removeprefix("429-retry-after-")
    values = {
        "seconds": "1",
        "date": formatdate(math.ceil(now_s + 1), usegmt=True),
        "past": formatdate(now_s - 3600, usegmt=True),
        "huge": "1000000000",
        "negative": "-5",
        "nan": "NaN",
    }
    return f"retry-after: {values[how]}\r\n".encode() if how in values else b""


def model_names() -> list[str]:
    """The model names that fail, for `GET /v1/models`."""
    return [f"sim-{kind}" for kind in sorted(NAMES)]
