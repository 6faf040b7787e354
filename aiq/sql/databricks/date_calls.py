# ruff: noqa: E501 -- one line an entry
"""Calls over dates and times whose translation depends on literals among their arguments."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlglot import exp

from aiq.sql.databricks.macros import SCHEMA
from aiq.sql.databricks.number_formats import number_format
from aiq.sql.databricks.patterns import DatePattern, date_pattern
from aiq.sql.databricks.words import (
    Print,
    asks_rows,
    dated,
    filled,
    literal,
    may_fail,
    message,
    quoted,
    refused,
    tried,
    typed,
    whole_number,
)

_PARTS = {"year": "year", "month": "month", "day": "day", "quarter": "quarter", "dayofweek": "dayofweek", "hour": "hour",
          "minute": "minute", "second": "second", "week": "weekofyear", "doy": "dayofyear", "dow": "dayofweek"}  # fmt: skip
UNITS = {"YEAR": "to_years", "MONTH": "to_months", "WEEK": "to_weeks", "DAY": "to_days", "HOUR": "to_hours",
          "MINUTE": "to_minutes", "SECOND": "to_seconds"}  # fmt: skip
_WEEK = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")


def part(field: str, value: str) -> str:
    """EXTRACT(field FROM value)."""
    name = _PARTS.get(field.lower())
    if name is None:
        raise refused(f"EXTRACT({field.upper()} FROM ..)")
    if name in ("hour", "minute"):
        return f"CAST({name}({SCHEMA}.moment({value})) AS INTEGER)"
    if name == "second":
        return f"CAST(strftime({SCHEMA}.moment({value}), '%S.%f') AS DECIMAL(8,6))"
    plus = " + 1" if name == "dayofweek" else ""
    return f"CAST({name}({SCHEMA}.as_date({value})){plus} AS INTEGER)"


def _date_format(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    java = literal(arguments[1], name, "pattern")
    if java == "Q":
        return f"CAST(quarter({SCHEMA}.moment({dated(arguments[0], 'TIMESTAMPTZ', show)})) AS VARCHAR)"
    pattern = date_pattern(java)
    if pattern is None:
        raise refused(f"{name} with the pattern {arguments[1].sql()}")
    return f"strftime({SCHEMA}.moment({dated(arguments[0], 'TIMESTAMPTZ', show)}), {quoted(pattern.format)})"


def _to_char(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """Of dates and times; a pattern of digits is one of numbers."""
    java = literal(arguments[-1], name, "pattern") if len(arguments) == 2 else ""
    if number_format(java) is not None:
        return filled(f"#to_char(@number({{0}}, {{m}}), {quoted(java)})", name, arguments[:1], show)
    if not re.search("[yMdHhmsaEQ]", java) or re.search(r"\d", java):
        raise refused(
            f"{name} with this pattern", "has no exact counterpart on DuckDB; write format_number or format_string"
        )
    value = f"{SCHEMA}.no_text({typed(arguments[0], show)}, {message(name + ' of a text')})"
    return _date_format(name, [exp.Var(this=value), arguments[1]], show)


def _to_date(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    kind = "date" if "date" in name else "timestamp"
    if len(arguments) == 1:
        value = dated(arguments[0], "DATE" if kind == "date" else "TIMESTAMPTZ", show)
        macro = f"{SCHEMA}.{'as_date' if kind == 'date' else 'cast_timestamp'}"
        if not name.startswith("try_"):
            return f"{macro}({value})"
        return tried(lambda each: f"{macro}({each})", value, apart=_apart(arguments[0]))
    value = typed(arguments[0], show)
    pattern = date_pattern(literal(arguments[1], name, "pattern"))
    if pattern is None or pattern.regex is None:
        raise refused(f"{name} with the pattern {arguments[1].sql()}")
    if not name.startswith("try_"):
        return _by_pattern(value, pattern, kind)
    return tried(lambda each: _by_pattern(each, pattern, kind), value, apart=_apart(arguments[0]))


def _apart(node: exp.Expr) -> bool:
    return may_fail(node) and not asks_rows(node)


def _by_pattern(value: str, pattern: DatePattern, kind: str) -> str:
    """The date or time of a text by a pattern, an error for a text that is not like it."""
    assert pattern.regex is not None
    fitting = f"CASE WHEN regexp_full_match({value}, {quoted(pattern.regex)}) THEN {value} ELSE 'not like the pattern: ' || {value} END"
    target = "DATE" if kind == "date" else "TIMESTAMPTZ"
    moment = f"strptime({fitting}, {quoted(pattern.format.replace('%-', '%'))})"
    if "%y" in pattern.format:  # DuckDB's are the years from 1969
        moment = f"{SCHEMA}.in_2000s({moment})"
    return f"CAST({moment} AS {target})"


def _date_add(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if len(arguments) == 2:
        return f"({SCHEMA}.as_date({dated(arguments[0], 'DATE', show)}) + CAST({whole_number(arguments[1], name, show)} AS INTEGER))"
    unit = arguments[0].name.upper().removesuffix("S")
    if len(arguments) != 3 or unit not in (*UNITS, "QUARTER"):
        raise refused(f"{name} in {arguments[0].sql()}")
    count = f"CAST({whole_number(arguments[1], name, show)} AS INTEGER)"
    interval = f"to_months(3 * {count})" if unit == "QUARTER" else f"{UNITS[unit]}({count})"
    return f"({SCHEMA}.timestamp({dated(arguments[2], 'TIMESTAMPTZ', show)}) + {interval})"


def _date_diff(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if len(arguments) == 2:
        return f"{SCHEMA}.datediff({SCHEMA}.as_date({dated(arguments[0], 'DATE', show)}), {SCHEMA}.as_date({dated(arguments[1], 'DATE', show)}))"
    unit = arguments[0].name.lower().removesuffix("s")
    if len(arguments) != 3 or unit.upper() not in (*UNITS, "QUARTER"):
        raise refused(f"{name} in {arguments[0].sql()}")
    first, last = (f"{SCHEMA}.timestamp({dated(each, 'TIMESTAMPTZ', show)})" for each in arguments[1:])
    if unit in ("month", "quarter", "year"):
        months = f"{SCHEMA}.months_apart(CAST({first} AS TIMESTAMP), CAST({last} AS TIMESTAMP))"
        return months if unit == "month" else f"({months} // {3 if unit == 'quarter' else 12})"
    return f"date_sub('{unit}', CAST({first} AS TIMESTAMP), CAST({last} AS TIMESTAMP))"


def _date_trunc(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    unit, value = (arguments[0], arguments[1]) if name == "date_trunc" else (arguments[1], arguments[0])
    word = literal(unit, name, "unit").lower()
    word = {"mon": "month", "mm": "month", "yyyy": "year", "yy": "year", "dd": "day"}.get(word, word)
    allowed = ("year", "quarter", "month", "week") if name == "trunc" else (
        "year", "quarter", "month", "week", "day", "hour", "minute", "second", "millisecond", "microsecond")  # fmt: skip
    if word not in allowed:  # NULL, as in Spark
        return f"CAST(NULL AS {'DATE' if name == 'trunc' else 'TIMESTAMPTZ'})"
    if word == "microsecond":
        return f"{SCHEMA}.timestamp({typed(value, show)})"
    if name == "trunc":
        return f"CAST(date_trunc('{word}', {SCHEMA}.as_date({typed(value, show)})) AS DATE)"
    return f"CAST(date_trunc('{word}', {SCHEMA}.timestamp({typed(value, show)})) AS TIMESTAMPTZ)"


def _part(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    return part(literal(arguments[0], name, "field"), typed(arguments[1], show))


def _of_time(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """hour, minute, second; a literal may be a time without a date."""
    if len(arguments) != 1:
        raise refused(f"{name} with {len(arguments)} arguments")
    value = arguments[0]
    if isinstance(value, exp.Literal) and value.is_string and re.fullmatch(r"\d{1,2}:\d{1,2}(:\d{1,2})?", value.name):
        value = exp.Literal.string(f"1970-01-01 {value.name}")
    return filled(f"CAST({name}({{t0}}) AS INTEGER)", name, [value], show)


def _from_unixtime(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    pattern = date_pattern(literal(arguments[1], name, "pattern") if len(arguments) == 2 else "yyyy-MM-dd HH:mm:ss")
    if pattern is None or len(arguments) > 2:
        raise refused(f"{name} with this pattern")
    moment = f"CAST(to_timestamp(CAST({show(arguments[0])} AS DOUBLE)) AS TIMESTAMP)"
    return f"strftime({moment}, {quoted(pattern.format)})"


def _next_day(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    day = literal(arguments[1], name, "day of the week").upper()
    found = next((at for at, known in enumerate(_WEEK, 1) if day in (known, known[:3], known[:2])), None)
    if found is None:
        raise refused(f"{name} with the day {arguments[1].sql()}")
    return f"{SCHEMA}.next_day({SCHEMA}.as_date({dated(arguments[0], 'DATE', show)}), {found})"


def _unix_timestamp(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if len(arguments) == 2:
        moment = _to_date("to_timestamp", arguments, show)
    elif len(arguments) == 1:
        moment = f"{SCHEMA}.full_moment({typed(arguments[0], show)})"
    else:
        raise refused(f"{name} with {len(arguments)} arguments")
    return f"(epoch_us({SCHEMA}.timestamp({moment})) // 1000000)"  # towards zero, as Spark does


def _sequence(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """Of numbers, or of dates by an interval of months, weeks or days: no step is added to another one's result."""
    step = arguments[2] if len(arguments) == 3 else None
    if not isinstance(step, exp.Interval):
        return filled(
            "@sequence_by({0}, {1}, {2})" if step is not None else "@sequence({0}, {1})", name, arguments, show
        )
    unit, count = step.text("unit").upper().removesuffix("S"), step.this.name if step.this else ""
    if unit not in ("YEAR", "MONTH", "WEEK", "DAY") or not count.isdigit() or count == "0":
        raise refused(f"{name} by {step.sql('databricks')}")
    first, last = (typed(each, show) for each in arguments[:2])
    return f"{SCHEMA}.dates_by({first}, {last}, '{unit.lower()}', {count}, {UNITS[unit]}({count}), {message(name)})"


CALLS = {
    **dict.fromkeys(("hour", "minute", "second"), _of_time),
    "sequence": _sequence, "unix_timestamp": _unix_timestamp, "to_unix_timestamp": _unix_timestamp,
    "from_unixtime": _from_unixtime, "next_day": _next_day, "date_format": _date_format,
    **dict.fromkeys(("to_char", "to_varchar"), _to_char),
    **dict.fromkeys(("to_date", "to_timestamp", "try_to_date", "try_to_timestamp"), _to_date),
    **dict.fromkeys(("date_add", "dateadd", "timestampadd"), _date_add),
    **dict.fromkeys(("datediff", "date_diff", "timestampdiff"), _date_diff),
    "date_trunc": _date_trunc, "trunc": _date_trunc, "date_part": _part, "datepart": _part,
}  # fmt: skip
