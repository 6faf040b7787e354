"""A request the simulated provider refuses, in words that each vendor puts into its own error body.

Knows no route, no vendor and no socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class VendorError(Exception):
    """An error answer: HTTP `status` and OpenAI's `message`, `type` (here `kind`), `param` and `code`.

    `headers` are extra header lines, each ended by CRLF. `fault` is the name of the fault that made it, empty for a
    genuine one. `retry_s` is when the client should come back (seconds), None where nobody can say; a vendor that puts
    it into its body reads it here. `details` are more facts for such a body.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: bytes = b"",
        fault: str = "",
        retry_s: float | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind = status, message, kind
        self.param, self.code, self.headers = param, code, headers
        self.fault, self.retry_s, self.details = fault, retry_s, details or {}


class OverQuota(VendorError):
    """A 429 that a quota made. `details`: `unit` (requests, tokens, input, output), `limit`, `used` and `asked`."""


def retry_headers(seconds: float) -> bytes:
    """`retry-after` in whole seconds, rounded up, and the exact `retry-after-ms`, as OpenAI and Azure send them."""
    return b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (-(-seconds // 1), -(-seconds * 1000 // 1))


def wrong_type(param: str, expected: str, value: object) -> VendorError:
    """A 400 for a value of the wrong JSON type, in OpenAI's words."""
    return VendorError(
        400,
        f"Invalid type for '{param}': expected {expected}, but got {json_type(value)} instead.",
        param=param,
        code="invalid_type",
    )


def json_type(value: object) -> str:
    """What JSON calls a value, with its article."""
    names: dict[type, str] = {
        bool: "a boolean",
        int: "an integer",
        float: "a decimal number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "null")
