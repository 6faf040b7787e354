"""A request the simulated provider refuses, and the error body it says so with.

Knows no route and no socket.
"""

from __future__ import annotations

from typing import Literal

import orjson

Dialect = Literal["openai", "azure", "mlflow"]

_MLFLOW_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
}


class Refusal(Exception):
    """An error answer: HTTP `status` and OpenAI's `message`, `type` (here `kind`), `param` and `code`.

    `headers` are extra header lines, each ended by CRLF.
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
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind = status, message, kind
        self.param, self.code, self.headers = param, code, headers

    def body(self, dialect: Dialect) -> bytes:
        """The JSON error body as OpenAI, Azure OpenAI, or Databricks and MLflow scoring servers send it."""
        if dialect == "mlflow":
            code = _MLFLOW_CODES.get(self.status, "INTERNAL_ERROR")
            return orjson.dumps({"error_code": code, "message": self.message})
        error: dict[str, object] = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        if dialect == "azure":
            if self.status == 401:
                error = {"code": "401", "message": self.message}
            elif self.code == "content_policy_violation":
                error |= {
                    "code": "content_filter",
                    "param": "prompt",
                    "status": 400,
                    "innererror": {
                        "code": "ResponsibleAIPolicyViolation",
                        "content_filter_result": {"violence": {"filtered": True, "severity": "high"}},
                    },
                }
        return orjson.dumps({"error": error})


def wrong_type(param: str, expected: str, value: object) -> Refusal:
    """A 400 for a value of the wrong JSON type, in the vendor's words."""
    return Refusal(
        400,
        f"Invalid type for '{param}': expected {expected}, but got {_json_type(value)} instead.",
        param=param,
        code="invalid_type",
    )


def _json_type(value: object) -> str:
    names: dict[type, str] = {
        bool: "a boolean",
        int: "an integer",
        float: "a decimal number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "null")
