"""Evaluates an alert: runs its query in a session, takes one value of the result, and compares it.

Knows nothing of earlier states, nor of who is notified. Source: Databricks' alerts; see docs/alerts.md.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import pyarrow as pa

from aiq.alerts.alert import UNARY, Alert, Operand, Parameter, State
from aiq.errors import StatementCancelled, StatementError
from aiq.sql.calls import tokenize
from aiq.sql.reading_only import only_reads
from aiq.sql.script import split
from aiq.statements.session import Session
from aiq.statements.settings import first_setting, hints

_SHOWS = {"SHOW", "DESCRIBE"}
_SQL = {
    "AVG": "avg(c)",
    "COUNT": "count(c)",
    "COUNT_DISTINCT": "count(DISTINCT c)",
    "MAX": "max(c)",
    "MEDIAN": "median(c)",
    "MIN": "min(c)",
    "STDDEV": "stddev_samp(c)",
    "SUM": "sum(c)",
}
_OF_NUMBERS = ("AVG", "MEDIAN", "STDDEV", "SUM")


class Evaluation(NamedTuple):
    """What an evaluation found. `value` and `threshold` are what was compared; `rows` is the query's result."""

    state: State
    value: Any = None
    threshold: Any = None
    error: str | None = None
    rows: pa.Table | None = None

    @property
    def value_text(self) -> str | None:
        """The value as a person reads it; None where there is none."""
        return text_of_value(self.value)


def evaluate(alert: Alert, session: Session[Any], max_cost_usd: float | None = None) -> Evaluation:
    """The alert's state now. What fails is the state ERROR; only a stop by the user is raised.

    `max_cost_usd` is the budget of a query that asks a model and has none of its own.
    """
    try:
        rows = _rows(alert, session, max_cost_usd)
        value = _value(rows, alert.source)
        threshold = _value(rows, alert.threshold) if isinstance(alert.threshold, Operand) else alert.threshold
        if not len(rows):
            return Evaluation(alert.empty_state, error="the query gives no row", rows=rows)
        holds = compare(value, alert.operator, threshold)
        return Evaluation("TRIGGERED" if holds else "OK", value, threshold, rows=rows)
    except StatementCancelled:
        raise
    except Exception as error:
        words = " ".join(str(error).split()) or type(error).__name__
        return Evaluation("ERROR", error=words[:500])


def _rows(alert: Alert, session: Session[Any], max_cost_usd: float | None) -> pa.Table:
    _check_query(alert, max_cost_usd)
    before = session.settings
    try:
        session.settings = before._replace(max_cost_usd=max_cost_usd, needs_budget=True)
        params = {each.name: _typed(each, session) for each in alert.parameters}
        found = session.sql(alert.query, params or None, dialect="databricks")
        if found is None:
            raise StatementError("the alert's query has no rows; an alert takes a SELECT")
        return _arrow(found)
    finally:
        session.settings = before


def _typed(parameter: Parameter, session: Session[Any]) -> Any:
    """A parameter's value as the engine casts it."""
    if parameter.value is None or parameter.kind is None:
        return parameter.value
    found = session.sql(f"SELECT CAST(:v AS {parameter.kind}) AS v", {"v": parameter.value}, dialect="databricks")
    return _arrow(found).column(0)[0].as_py()


def _arrow(rows: Any) -> pa.Table:
    """The rows of a statement, of Spark or of DuckDB."""
    table: pa.Table = rows.toArrow() if hasattr(rows, "toArrow") else rows.to_arrow_table()
    return table


def _check_query(alert: Alert, max_cost_usd: float | None) -> None:
    """Raises StatementError for what is no query, and for one that asks a model without a limit of what it costs."""
    text, budget = alert.query, max_cost_usd is not None
    while (first := first_setting(text)) is not None:
        changed, text = first
        budget = budget or changed.get("aiq_max_cost_usd") is not None
    budget = budget or hints(text).get("aiq_max_cost_usd") is not None
    if len(split(text, "databricks")) != 1:
        raise StatementError("the alert's query is not one statement; an alert takes one SELECT")
    tokens = tokenize(text)
    if not only_reads(tokens) and not (tokens and tokens[0].text.upper() in _SHOWS):
        raise StatementError("the alert's query is no SELECT; an alert looks and changes nothing")
    if not budget and re.search(r"\bai_\w+\s*\(", text, re.IGNORECASE):
        raise StatementError(NO_BUDGET)


NO_BUDGET = (
    "the alert's query asks a model each time, and has no budget; begin it with SET aiq_max_cost_usd = 0.10; "
    "or give --max-cost"
)


def _value(rows: pa.Table, operand: Operand) -> Any:
    """One value of a result: an aggregate over all rows, or the first row's. None: NULL, or no row."""
    places = [i for i, name in enumerate(rows.column_names) if name == operand.name]
    places = places or [i for i, name in enumerate(rows.column_names) if name.lower() == operand.name.lower()]
    if not places:
        raise StatementError(f"the query has no column {operand.name}; it has {', '.join(rows.column_names)}")
    if len(places) > 1:
        raise StatementError(f"the query has {len(places)} columns {operand.name}; give each a name of its own")
    column = rows.column(places[0])
    if operand.aggregation is None:
        return column[0].as_py() if len(column) else None
    return _aggregate(column, operand)


def _aggregate(column: pa.ChunkedArray, operand: Operand) -> Any:
    import duckdb

    kind, sql = column.type, _SQL[operand.aggregation or ""]
    if operand.aggregation in _OF_NUMBERS:
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):  # as Databricks does
            sql = sql.replace("(c)", "(CAST(c AS DOUBLE))")
        elif not _is_numeric(kind) and not pa.types.is_null(kind):
            raise StatementError(f"{operand} needs numbers, and {operand.name} is {kind}")
    with duckdb.connect(config={"python_enable_replacements": False}) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.register("v", pa.table({"c": column}))
        found = con.sql(f"SELECT {sql} FROM v").fetchall()
        return found[0][0]


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def compare(value: Any, operator: str, threshold: Any) -> bool:
    """Whether a condition holds, as in SQL: not where one side is NULL; NaN is the largest number and equals itself.

    A text stands for the number, date, time or truth that the other side is. Raises StatementError where it cannot.
    """
    if operator in UNARY:
        return (value is None) == (operator == "IS_NULL")
    if value is None or threshold is None:
        return False
    left, right = _alike(value, threshold)
    if operator in ("EQUAL", "NOT_EQUAL"):
        return bool(left == right) == (operator == "EQUAL")
    if operator.startswith("GREATER"):
        return bool(left > right) or (operator.endswith("EQUAL") and bool(left == right))
    return bool(left < right) or (operator.endswith("EQUAL") and bool(left == right))


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Two values as Python compares them like SQL does."""
    if isinstance(left, str) and not isinstance(right, str):
        left = _read(left, right)
    elif isinstance(right, str) and not isinstance(left, str):
        right = _read(right, left)
    if (isinstance(left, bool) and isinstance(right, bool)) or (isinstance(left, str) and isinstance(right, str)):
        return left, right
    if isinstance(left, date) and isinstance(right, date):
        return _midnight(left), _midnight(right)
    if _is_number(left) and _is_number(right):
        if isinstance(left, float) or isinstance(right, float):
            return _orderly(float(left)), _orderly(float(right))
        return Decimal(left), Decimal(right)
    raise StatementError(f"{_kind(left)} cannot be compared with {_kind(right)}; change the query or the threshold")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _orderly(value: float) -> tuple[bool, float]:
    """A number that sorts as in SQL: NaN behind all others."""
    return (True, 0.0) if math.isnan(value) else (False, value)


def _read(text: str, like: Any) -> Any:
    words = text.strip()
    try:
        if isinstance(like, bool):
            return {"true": True, "false": False}[words.lower()]
        if isinstance(like, datetime):
            return datetime.fromisoformat(words)
        if isinstance(like, date):
            return date.fromisoformat(words) if len(words) <= 10 else datetime.fromisoformat(words)
        return float(words) if isinstance(like, float) else Decimal(words)
    except (KeyError, ValueError, InvalidOperation):
        raise StatementError(f"{text!r} is no {_kind(like)}, which it is compared with") from None


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _midnight(day: date) -> datetime:
    return _aware(day if isinstance(day, datetime) else datetime(day.year, day.month, day.day))


def _kind(value: Any) -> str:
    for kind, words in ((bool, "truth value"), (str, "text"), (datetime, "time"), (date, "date")):
        if isinstance(value, kind):
            return words
    return "number" if _is_number(value) else type(value).__name__


def text_of_value(value: Any) -> str | None:
    """A value as a person reads it; None for NULL."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    return str(value)
