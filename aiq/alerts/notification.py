"""The words of a notification: the alert's own templates, filled with what its evaluation found.

Knows no destination. Values are put in once, so that text of the data is never read as a template, and in HTML they are
escaped. Source: Databricks' notification templates, `{{ALERT_STATUS}}`, in Markdown `@ALERT_STATUS`.
"""

from __future__ import annotations

import html
import re
from datetime import datetime
from html.parser import HTMLParser
from typing import Any, NamedTuple

import pyarrow as pa

from aiq.alerts.alert import OPERATORS, Alert
from aiq.alerts.evaluate import Evaluation, text_of_value

NAMES = (
    "ALERT_STATUS", "ALERT_CONDITION", "ALERT_THRESHOLD", "ALERT_COLUMN", "ALERT_NAME", "ALERT_URL",
    "QUERY_RESULT_TABLE", "QUERY_RESULT_VALUE", "QUERY_RESULT_ROWS", "QUERY_RESULT_COLS", "QUERY_NAME", "QUERY_URL",
)  # fmt: skip
MAX_ROWS = 100
"""Rows of the result that a notification shows, as on Databricks."""
MAX_CELL = 500
_SUMMARY = "{{ALERT_NAME}}: {{ALERT_STATUS}} ({{ALERT_COLUMN}} = {{QUERY_RESULT_VALUE}}, alert at {{CONDITION}})"
_IN_HTML = re.compile(r"\{\{\{?\s*&?\s*([A-Z_]+)\s*\}?\}\}")
_IN_MARKDOWN = re.compile(r"@(" + "|".join(NAMES) + r")\b")


class Notification(NamedTuple):
    """A notification. `values` are what templates may name; `summary` is one line, `html` the text for a mail."""

    alert_id: str
    reason: str
    condition: str
    time: datetime
    values: dict[str, str]
    summary: str
    text: str
    html: str | None = None

    def as_json(self) -> dict[str, Any]:
        """All that is known, for programs."""
        values = self.values
        return {
            "alert_id": self.alert_id,
            "alert_name": values["ALERT_NAME"],
            "state": values["ALERT_STATUS"],
            "reason": self.reason,
            "time": self.time.isoformat(),
            "column": values["ALERT_COLUMN"],
            "condition": self.condition,
            "threshold": values["ALERT_THRESHOLD"],
            "value": values["QUERY_RESULT_VALUE"],
            "summary": self.summary,
            "text": self.text,
        }


def notification(alert: Alert, found: Evaluation, reason: str, now: datetime) -> Notification:
    """What to tell of an evaluation."""
    rows = found.rows
    threshold = text_of_value(found.threshold)
    values = {
        "ALERT_STATUS": found.state,
        "ALERT_CONDITION": OPERATORS[alert.operator],
        "ALERT_THRESHOLD": alert.threshold_text if threshold is None else threshold,
        "ALERT_COLUMN": str(alert.source),
        "ALERT_NAME": alert.name,
        "ALERT_URL": alert.file,
        "QUERY_NAME": alert.name,
        "QUERY_URL": alert.file,
        "QUERY_RESULT_VALUE": found.value_text or "NULL",
        "QUERY_RESULT_ROWS": str(len(rows)) if rows is not None else "0",
        "QUERY_RESULT_COLS": str(rows.num_columns) if rows is not None else "0",
        "QUERY_RESULT_TABLE": "",
    }
    plain = values | {"QUERY_RESULT_TABLE": "" if rows is None else _text_table(rows)}
    if alert.summary is None:
        line = _filled(_SUMMARY, plain | {"CONDITION": alert.condition})
    elif alert.markdown:
        line = _filled(alert.summary, plain, _IN_MARKDOWN)
    else:
        line = _filled(_untagged(alert.summary), plain)
    line = " ".join(line.split())
    if alert.description is None:
        return Notification(alert.id, reason, alert.condition, now, plain, line, line)
    if alert.markdown:
        return Notification(
            alert.id, reason, alert.condition, now, plain, line, _filled(alert.description, plain, _IN_MARKDOWN)
        )
    marked = {name: html.escape(text) for name, text in values.items()}
    marked["QUERY_RESULT_TABLE"] = "" if rows is None else _html_table(rows)
    text = _filled(_untagged(alert.description), plain)
    return Notification(alert.id, reason, alert.condition, now, plain, line, text, _filled(alert.description, marked))


def filled(template: Any, said: Notification) -> Any:
    """A JSON value with {{NAMES}} in its texts filled in, {{ALERT_SUMMARY}} and {{ALERT_TEXT}} too."""
    if isinstance(template, dict):
        return {name: filled(member, said) for name, member in template.items()}
    if isinstance(template, list):
        return [filled(item, said) for item in template]
    if not isinstance(template, str):
        return template
    return _filled(template, said.values | {"ALERT_SUMMARY": said.summary, "ALERT_TEXT": said.text})


def unknown_names(alert: Alert) -> list[str]:
    """What looks like a name in the alert's templates and is none."""
    pattern = r"@([A-Z]+_[A-Z_]+)\b" if alert.markdown else r"\{\{\{?\s*([^{}]*?)\s*\}?\}\}"
    found = re.findall(pattern, f"{alert.summary or ''}\n{alert.description or ''}")
    return sorted({name for name in found if name.lstrip("&").strip() not in NAMES})


def _filled(template: str, values: dict[str, str], names: re.Pattern[str] = _IN_HTML) -> str:
    return names.sub(lambda match: values.get(match[1], match[0]), template)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("br", "p", "div", "li", "tr", "h1", "h2", "h3"):
            self.parts.append("\n")


def _untagged(template: str) -> str:
    """The words of an HTML template; its names stay in their places."""
    parser = _Text()
    parser.feed(template)
    parser.close()
    return "".join(parser.parts).strip()


def _cells(rows: pa.Table) -> list[list[str]]:
    found = rows.slice(0, MAX_ROWS).to_pydict() if len(set(rows.column_names)) == rows.num_columns else None
    columns = list(found.values()) if found is not None else [c.to_pylist() for c in rows.slice(0, MAX_ROWS).columns]
    return [[_cell(value) for value in row] for row in zip(*columns, strict=True)]


def _cell(value: Any) -> str:
    text = text_of_value(value)
    text = "NULL" if text is None else " ".join(text.split())
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def _text_table(rows: pa.Table) -> str:
    lines = [" | ".join(rows.column_names), *(" | ".join(cells) for cells in _cells(rows))]
    if len(rows) > MAX_ROWS:
        lines.append(f"({len(rows) - MAX_ROWS:,} rows more)")
    return "\n".join(lines)


def _html_table(rows: pa.Table) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in rows.column_names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>" for cells in _cells(rows)
    )
    more = f"<p>{len(rows) - MAX_ROWS:,} rows more</p>" if len(rows) > MAX_ROWS else ""
    return f"<table><tr>{head}</tr>{body}</table>{more}"
