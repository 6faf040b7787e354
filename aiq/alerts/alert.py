"""What an alert is: a query, a condition on one column of its result, and whom it notifies. Reads no file.

Source: Databricks' alerts API (`AlertV2`), whose field names and values are used.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, NamedTuple

State = Literal["OK", "TRIGGERED", "ERROR", "UNKNOWN"]
STATES: tuple[State, ...] = ("OK", "TRIGGERED", "ERROR", "UNKNOWN")
OPERATORS = {
    "GREATER_THAN": ">",
    "GREATER_THAN_OR_EQUAL": ">=",
    "LESS_THAN": "<",
    "LESS_THAN_OR_EQUAL": "<=",
    "EQUAL": "=",
    "NOT_EQUAL": "<>",
    "IS_NULL": "IS NULL",
    "IS_NOT_NULL": "IS NOT NULL",
}
"""Comparison operators and their signs."""
UNARY = ("IS_NULL", "IS_NOT_NULL")
AGGREGATIONS = ("AVG", "COUNT", "COUNT_DISTINCT", "MAX", "MEDIAN", "MIN", "STDDEV", "SUM")


class Operand(NamedTuple):
    """A column of the result: its aggregate over all rows, or (None) its value in the first."""

    name: str
    aggregation: str | None = None

    def __str__(self) -> str:
        return self.name if self.aggregation is None else f"{self.aggregation}({self.name})"


Threshold = Operand | Decimal | str | bool | None


class Subscription(NamedTuple):
    """Who is notified: a destination by its id, or a person by mail. One of the two is given."""

    destination_id: str | None = None
    user_email: str | None = None

    def __str__(self) -> str:
        return self.destination_id or self.user_email or ""


class Schedule(NamedTuple):
    """When an alert is evaluated. `cron` is a Quartz expression, `zone` an IANA time zone."""

    cron: str
    zone: str
    paused: bool = False


class Parameter(NamedTuple):
    """The value of `:name` in the query. `kind` is the SQL type that the text is cast to; None: text."""

    name: str
    value: str | None
    kind: str | None = None


class Alert(NamedTuple):
    """One alert. `id` is the name of its file, or its key in a bundle; `retrigger_s` 0: notified once."""

    id: str
    name: str
    file: str
    query: str
    source: Operand
    operator: str
    threshold: Threshold
    empty_state: State = "ERROR"
    notify_on_ok: bool = False
    retrigger_s: int = 0
    subscriptions: tuple[Subscription, ...] = ()
    schedule: Schedule | None = None
    summary: str | None = None
    description: str | None = None
    markdown: bool = False
    """Whether the two texts are Markdown with @NAMES; else HTML with {{NAMES}}."""
    parameters: tuple[Parameter, ...] = ()

    @property
    def condition(self) -> str:
        """`SUM(usd) > 10`, as a person reads it."""
        words = [str(self.source), OPERATORS[self.operator]]
        return " ".join(words if self.operator in UNARY else [*words, self.threshold_text])

    @property
    def threshold_text(self) -> str:
        """The threshold as a person reads it."""
        if self.threshold is None:
            return ""
        if isinstance(self.threshold, bool):
            return str(self.threshold).lower()
        return f"{self.threshold:f}" if isinstance(self.threshold, Decimal) else str(self.threshold)
