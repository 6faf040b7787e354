"""Every error aiq raises, in one tree. Knows nothing of the rest of the house.

    AiqError
     ├── ConfigError                 a file or a setting is wrong: says file, line, field, what was expected
     │    ├── UnsupportedConfigError a valid Databricks field this version cannot honour
     │    └── SecretError            a secret is missing or unsafe
     ├── StatementError              the statement is wrong: found before any call, nothing was paid
     │    ├── BudgetExceeded         the statement reached its aiq_max_cost_usd; what is answered is kept
     │    └── FunctionError          an AI function's argument is wrong (Databricks error condition, SQLSTATE)
     ├── RequestFailed               one request got no answer (a row error; fatal under failOnError => true)
     │    ├── ProviderError          the provider refused, failed or answered something unusable
     │    │    └── StreamBroken      a streamed answer broke off after a part of it had left
     │    ├── PolicyError            the gateway refused: rate limit, permission
     │    │    └── GuardrailBlocked  a guardrail refused the request or its answer
     │    └── ResultError            the answer does not fit the requested type
     ├── StatementCancelled          Ctrl-C, interrupt, or another row's failure stopped the statement
     ├── ResourceError               the machine gives the process too little: open files, memory
     └── LedgerError                 the home folder cannot be written or a Delta table is unusable

Messages tell a person what to do next and never contain a secret.
"""

from __future__ import annotations

from typing import Literal, TypeVar

SQLSTATE = {
    "AI_FUNCTION_HTTP_PARSE_CAST_ERROR": "2203G",
    "AI_FUNCTION_HTTP_PARSE_COLUMNS_ERROR": "2203G",
    "AI_FUNCTION_HTTP_REQUEST_ERROR": "08000",
    "AI_FUNCTION_INVALID_HTTP_RESPONSE": "08000",
    "AI_FUNCTION_INVALID_MODEL_PARAMETERS": "22023",
    "AI_FUNCTION_MODEL_SCHEMA_PARSE_ERROR": "2203G",
    "AI_FUNCTION_UNSUPPORTED_REQUEST": "0A000",
    "AI_FUNCTION_UNSUPPORTED_RETURN_TYPE": "0A000",
    "AI_FUNCTION_UNSUPPORTED_RESPONSE_FORMAT": "0A000",
    "AI_QUERY_ENDPOINT_NOT_SUPPORT_STRUCTURED_OUTPUT": "0A000",
    "AI_QUERY_RETURN_TYPE_COLUMN_TYPE_MISMATCH": "0A000",
    "AI_INVALID_ARGUMENT_VALUE_ERROR": "22032",
    "AI_FUNCTION_SESSION_PERMISSION_DENIED": "42501",
    "REMOTE_FUNCTION_HTTP_FAILED_ERROR": "57012",
    "REMOTE_FUNCTION_HTTP_RETRY_TIMEOUT": "57012",
    "REMOTE_FUNCTION_HTTP_RESULT_PARSE_ERROR": "57012",
    "WRONG_NUM_ARGS": "42605",
    "UNRECOGNIZED_PARAMETER_NAME": "4274K",
    "DUPLICATE_ROUTINE_PARAMETER_ASSIGNMENT": "4274K",
    "REQUIRED_PARAMETER_NOT_FOUND": "4274K",
    "UNEXPECTED_POSITIONAL_ARGUMENT": "4274K",
    "NON_FOLDABLE_ARGUMENT": "42K08",
    "DATATYPE_MISMATCH": "42K09",
}
"""SQLSTATE by error condition. Source: Databricks error conditions; the routine ones are Spark's own."""


E = TypeVar("E", bound=BaseException)


def plain_in_notebooks(error: E) -> E:
    """An engine's error over a person's statement, of which IPython shows the message alone."""
    lines = _plain(error)  # not the error itself, which would keep its frames alive
    error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
    return error


def _plain(error: BaseException) -> list[str]:
    return f"{type(error).__name__}: {error}".splitlines()


class AiqError(Exception):
    """Base class of all errors that aiq raises on purpose."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it: the message, not the source of aiq that led to it."""
        return _plain(self)


class ConfigError(AiqError):
    """A configuration file or setting is wrong.

    `file`, `line` (1-based) and `field` (dotted path) are None where they are unknown.
    """

    def __init__(
        self, message: str, *, file: str | None = None, line: int | None = None, field: str | None = None
    ) -> None:
        self.file, self.line, self.field, self.reason = file, line, field, message
        place = "" if file is None else f"{file}:{line}: " if line is not None else f"{file}: "
        super().__init__(f"{place}{field}: {message}" if field else f"{place}{message}")


class UnsupportedConfigError(ConfigError):
    """A field that Databricks knows and this version cannot honour. Refused rather than ignored."""


class SecretError(ConfigError):
    """A `{{secrets/<scope>/<key>}}` reference has no value, or its file is readable by others."""


class StatementError(AiqError):
    """The SQL statement cannot be run as written. Raised before any call."""


class BudgetExceeded(StatementError):
    """The statement may not spend more. Also raised before the first call, where its estimate is above the limit."""


class FunctionError(StatementError):
    """An AI function was called wrongly. `condition` is Databricks' error condition, `sqlstate` its SQLSTATE."""

    def __init__(self, condition: str, message: str) -> None:
        self.condition = condition
        self.sqlstate = SQLSTATE.get(condition.split(".")[0], "22000")
        super().__init__(f"[{condition}] {message} SQLSTATE: {self.sqlstate}")


class RequestFailed(AiqError):
    """One request has no answer. `status` is the HTTP status a REST caller would see."""

    condition = "REMOTE_FUNCTION_HTTP_FAILED_ERROR"
    request = ""
    """The start of what it asked, on one line."""
    advice = ""
    """Where it ended a statement: which row's request it was, and what to do. Shown to who ran it, in no table."""

    def __init__(self, message: str, *, endpoint: str, status: int) -> None:
        self.endpoint, self.status, self.reason = endpoint, status, message
        super().__init__(message)

    def sql_message(self) -> str:
        """The text of `errorMessage`, or of the error that ends the statement."""
        return (
            f"[{self.condition}] The remote HTTP request failed with code {self.status}, and error message "
            f"'{self.reason}' ({self.place()}) SQLSTATE: {SQLSTATE[self.condition]}"
        )

    def place(self) -> str:
        """Where it failed, in words."""
        return f"endpoint '{self.endpoint}'"

    def __str__(self) -> str:
        return f"{self.sql_message()}\n{self.advice}" if self.advice else self.sql_message()


ErrorKind = Literal[
    "rate_limited",  # 429, or a provider's own word for it: wait the hint, then retry
    "quota_exhausted",  # 402, insufficient_quota: never retry, fall back
    "too_large",  # 429 for a request that is larger than the whole quota: no retry; fall back allowed
    "overloaded",  # 408, 409, 425, 500, 502, 503, 504, 529: retry with backoff, then fall back
    "network",  # connection refused, reset, DNS: retry with backoff, then fall back
    "timeout",  # silent until the deadline: no retry on the same entity where another one can be asked
    "bad_answer",  # 200 with HTML, truncated or malformed JSON, no choices: retry, then fall back
    "no_answer",  # 200 without a text, because all of max_tokens was spent before it: no retry; fall back allowed
    "certificate",  # the TLS certificate is not to be trusted: no retry; fall back allowed
    "bad_schema",  # 200 with another text than the JSON that was asked for: one repair, no fallback
    "context_length",  # 400: no retry
    "content_filter",  # 400: no retry and no fallback
    "bad_request",  # other 4xx: no retry, no fallback
    "auth",  # 401, 403: no retry; fall back allowed
    "not_found",  # 404: no retry; fall back allowed
    "adapted",  # the adapter has learnt what this model wants: send again at once
]


class ProviderError(RequestFailed):
    """The provider refused, failed, or answered something unusable.

    `kind` decides on retry and fallback (policy/retry.py); `retry_after_s` is the provider's own hint in seconds;
    `usage` (aiq.request.Usage) is set where the unusable answer was billed all the same; `once` where it arrived whole,
    so that asking again more than once costs and does not help.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind,
        status: int,
        endpoint: str = "",
        entity: str = "",
        retry_after_s: float | None = None,
        body: str | None = None,
        usage: object | None = None,
        once: bool = False,
    ) -> None:
        super().__init__(message, endpoint=endpoint, status=status)
        self.kind: ErrorKind = kind
        self.once = once
        self.stale_credential = False
        """Whether another credential may help, because this one has ended."""
        self.entity, self.retry_after_s, self.body, self.usage = entity, retry_after_s, body, usage
        self.attempts = 1

    def sql_message(self) -> str:
        if self.attempts > 1:
            condition = "REMOTE_FUNCTION_HTTP_RETRY_TIMEOUT"
            return (
                f"[{condition}] The remote HTTP request failed after retrying {self.attempts - 1} times; the last "
                f"failed HTTP error code was {self.status}, and error message '{self.reason}' ({self.place()}) "
                f"SQLSTATE: {SQLSTATE[condition]}"
            )
        return super().sql_message()

    def place(self) -> str:
        return f"endpoint '{self.endpoint}', served entity '{self.entity}'"


class StreamBroken(ProviderError):
    """A streamed answer ended before its end, after a part of it had left: never to be taken for a whole one."""

    @classmethod
    def after(cls, error: ProviderError) -> StreamBroken:
        """What broke the stream, told to whoever has read its beginning."""
        broken = cls(
            f"the answer broke off: {error.reason}; ask again",
            kind=error.kind,
            status=error.status,
            endpoint=error.endpoint,
            entity=error.entity,
            body=error.body,
            usage=error.usage,
        )
        broken.attempts = error.attempts
        return broken


class PolicyError(RequestFailed):
    """The gateway itself refused the request. `error_code` is the code of the REST body, `limit` the rate limit."""

    def __init__(
        self,
        message: str,
        *,
        endpoint: str,
        status: int,
        error_code: str,
        retry_after_s: float | None = None,
        limit: str | None = None,
    ) -> None:
        super().__init__(message, endpoint=endpoint, status=status)
        self.error_code, self.retry_after_s, self.limit = error_code, retry_after_s, limit


class GuardrailBlocked(PolicyError):
    """A guardrail refused a request (`side` input) or its answer (output, which was paid: `usage` says how much).

    `reason` is the JSON text that Databricks puts into `message` of the REST body, and `report` the same as a value.
    `sentence` says in words what happened; it is what SQL shows. `findings` names what acted (`pii:EMAIL_ADDRESS`).
    `blocked` is the content, as JSON text, only where the endpoint lets it be logged.
    """

    def __init__(
        self,
        sentence: str,
        *,
        endpoint: str,
        side: Literal["input", "output"],
        findings: tuple[str, ...],
        message: str,
        report: dict[str, object],
        usage: object | None = None,
        blocked: str | None = None,
    ) -> None:
        super().__init__(message, endpoint=endpoint, status=400, error_code="BAD_REQUEST")
        self.sentence, self.side, self.findings, self.report = sentence, side, findings, report
        self.usage, self.blocked = usage, blocked

    def sql_message(self) -> str:
        return (
            f"[{self.condition}] The remote HTTP request failed with code {self.status}, and error message "
            f"'{self.sentence}' ({self.place()}) SQLSTATE: {SQLSTATE[self.condition]}"
        )


class ResultError(RequestFailed):
    """The provider answered, but the answer does not fit the requested type. The call was paid."""

    def __init__(self, condition: str, message: str, *, endpoint: str) -> None:
        super().__init__(message, endpoint=endpoint, status=200)
        self.condition = condition

    def sql_message(self) -> str:
        return f"[{self.condition}] {self.reason} SQLSTATE: {SQLSTATE[self.condition]}"


class StatementCancelled(AiqError):
    """The statement was stopped before it was finished. Answers already paid for are in the ledger."""


class ResourceError(AiqError):
    """The process may open no more files, or get no more memory. What was answered is kept."""


class LedgerError(AiqError):
    """The ledger cannot be written or read."""
