"""Reads alerts as Databricks writes them: `.dbalert.json` files, and `resources.alerts` of Asset Bundles.

A field that has no meaning here is left out with a warning that names it. Source: the dataclasses of Databricks' SDK
and the examples of its bundles.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple, cast

from aiq.alerts.alert import (
    AGGREGATIONS,
    OPERATORS,
    STATES,
    UNARY,
    Alert,
    Operand,
    Parameter,
    Schedule,
    State,
    Subscription,
    Threshold,
)
from aiq.alerts.quartz import Quartz
from aiq.config.document import Node, read_documents
from aiq.config.nearest import nearest
from aiq.config.variables import Variables
from aiq.errors import ConfigError, UnsupportedConfigError

SUFFIX = ".dbalert.json"
CURRENT_USER = "${workspace.current_user.userName}"
_DATABRICKS_OWN = (
    "create_time", "effective_run_as", "id", "lifecycle_state", "owner_user_name", "update_time", "lifecycle",
)  # fmt: skip
"""What Databricks writes of an alert that it has. Says nothing to others."""
_UNUSED = {
    "warehouse_id": "the query runs here",
    "permissions": "who may read the file may run it",
    "parent_path": "the file stays where it is",
    "run_as": "the alert runs as who starts it",
    "run_as_user_name": "the alert runs as who starts it",
}
_FIRST_FORM = ("condition", "options", "query_id", "rearm", "notify_on_ok", "seconds_to_retrigger", "custom_subject")
_KNOWN = (
    "custom_summary", "custom_description", "custom_description_lines", "custom_template_format", "evaluation",
    "schedule", "query_lines", "query_text", "display_name", "parameters",
)  # fmt: skip
_BUNDLE_REFERENCE = re.compile(r"\$\{(?:var|bundle|workspace|resources|variables|artifacts)\.[\w.\-\[\]]+\}")
_TYPE = re.compile(r"[A-Za-z]+(?:_[A-Za-z]+)*(?:\s*\(\s*\d+\s*(?:,\s*\d+\s*)?\))?")
_MAX_RETRIGGER_S = 2**31 - 1
_BUNDLE_FILES = ("databricks.yml", "databricks.yaml", "bundle.yml", "bundle.yaml")
_BUNDLE_ABOVE = 4
"""Folders above a file in which the bundle's own file is looked for."""


class AlertFiles(NamedTuple):
    """The alerts that were read, and what of them is not honoured, with file and line."""

    alerts: list[Alert]
    warnings: list[str]


def read_alerts(path: Path) -> AlertFiles:
    """The alerts of a file, or of a folder's files. Raises ConfigError with file, line and field.

    Of a folder: each `*.dbalert.json`, and each YAML file with `resources.alerts`, which may name files of its own.
    """
    reader = _Reader()
    if path.is_dir():
        files = sorted(each for each in path.iterdir() if each.is_file() and not each.name.startswith("."))
        for file in files:
            if file.suffix in (".yml", ".yaml"):
                reader.bundle(file, required=False)
        for file in files:
            if file.name.endswith(SUFFIX) and file.resolve() not in reader.named:
                reader.file(file)
    elif not path.exists():
        raise ConfigError("there is no such file or folder of alerts", file=str(path))
    elif path.suffix in (".yml", ".yaml"):
        reader.bundle(path, required=True)
    else:
        reader.file(path)
    first: dict[str, Alert] = {}
    for alert in reader.alerts:
        if (other := first.setdefault(alert.id, alert)) is not alert:
            raise ConfigError(
                f"the alert {alert.id} is there twice, first in {other.file}; its state is kept by this name, so give "
                "one of the files another",
                file=alert.file,
            )
    return AlertFiles(sorted(reader.alerts), reader.warnings)


class _Reader:
    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self.warnings: list[str] = []
        self.named: set[Path] = set()
        """Files that a bundle names."""

    def file(self, path: Path, key: str | None = None, name: str | None = None) -> None:
        """A `.dbalert.json`. `key` and `name` are those of the bundle that names it."""
        documents = read_documents(str(path))
        if len(documents) != 1:
            raise ConfigError("expected one JSON object, an alert", file=str(path))
        _refuse_references(documents[0])
        stem = path.name.removesuffix(SUFFIX) if path.name.endswith(SUFFIX) else path.stem
        self.alerts.append(self._alert(documents[0], key or stem, name))

    def bundle(self, path: Path, *, required: bool) -> None:
        """The alerts of an Asset Bundle's file."""
        documents = [each for each in read_documents(str(path)) if isinstance(each.value, dict)]
        variables = Variables([*_bundle_of(path), *documents])
        found = False
        for document in documents:
            resources = document.mapping().get("resources")
            members = resources.value if resources is not None and isinstance(resources.value, dict) else {}
            alerts = members.get("alerts")
            if alerts is None or alerts.value is None:
                continue
            found = True
            for key, node in alerts.mapping().items():
                self._bundled(path, key, node, variables)
        if required and not found:
            raise ConfigError(
                f"has no resources.alerts; an alert is that, or a file *{SUFFIX} as Databricks exports it",
                file=str(path),
            )

    def _bundled(self, path: Path, key: str, node: Node, variables: Variables) -> None:
        members = dict(node.mapping())
        name = members.get("display_name")
        shown = None if name is None else _as_far_as_known(name, variables)
        file = members.get("file_path")
        if file is None:
            kept = {
                field: _substituted(member, variables)
                for field, member in members.items()
                if field not in _UNUSED and field != "display_name"
            }
            self._note(members)
            self.alerts.append(
                self._alert(Node(kept, file=node.file, line=node.line, field=node.field), key, shown or key)
            )
            return
        for field, member in members.items():
            if field not in ("file_path", "display_name", *_UNUSED, *_DATABRICKS_OWN):
                member.fail("stands beside file_path, whose file says all but display_name; leave one of them out")
        self._note(members)
        target = path.parent / variables.substitute(file).text()
        if not target.is_file():
            file.fail(f"there is no file {target}")
        self.named.add(target.resolve())
        self.file(target, key, shown)

    def _alert(self, root: Node, key: str, name: str | None) -> Alert:
        members = root.mapping()
        for field in _FIRST_FORM:
            if field in members:
                members[field].refuse(
                    "is of the first form of Databricks' alerts, which is not read; export the alert again as "
                    f"*{SUFFIX}, with evaluation and query_lines"
                )
        self._note(members)
        self._unknown(root, (*_KNOWN, *_UNUSED, *_DATABRICKS_OWN))
        members = {field: member for field, member in members.items() if member.value is not None}
        evaluation = root.required(members, "evaluation", "the condition of the alert")
        fields = self._fields(
            evaluation,
            ("source", "comparison_operator", "threshold", "empty_result_state", "notification", "schedule"),
            ("state", "last_evaluated_at"),
        )
        operator = evaluation.required(fields, "comparison_operator", "such as GREATER_THAN").choice([*OPERATORS])
        schedule = members.get("schedule")
        if "schedule" in fields:
            self._warn(fields["schedule"], "stands inside evaluation; Databricks has it beside it, and it is read so")
            schedule = schedule or fields["schedule"]
        notification = (
            self._fields(fields["notification"], ("notify_on_ok", "retrigger_seconds", "subscriptions"))
            if "notification" in fields
            else {}
        )
        display = members.get("display_name")
        summary, description = members.get("custom_summary"), members.get("custom_description")
        lines = members.get("custom_description_lines")
        style = members.get("custom_template_format")
        return Alert(
            id=key,
            name=name or (display.text() if display else key),
            file=root.file,
            query=_query(root, members),
            source=self._column(evaluation.required(fields, "source", "the column that is looked at")),
            operator=operator,
            threshold=self._threshold(evaluation, fields, operator),
            empty_state=(
                cast(State, fields["empty_result_state"].choice(STATES)) if "empty_result_state" in fields else "ERROR"
            ),
            notify_on_ok=notification["notify_on_ok"].boolean() if "notify_on_ok" in notification else False,
            retrigger_s=(
                notification["retrigger_seconds"].integer(0, _MAX_RETRIGGER_S)
                if "retrigger_seconds" in notification
                else 0
            ),
            subscriptions=(
                tuple(map(self._subscription, notification["subscriptions"].items()))
                if "subscriptions" in notification
                else ()
            ),
            schedule=self._schedule(schedule) if schedule is not None else None,
            summary=summary.raw if summary is not None else None,
            description=description.raw if description is not None else None if lines is None else _lines(lines),
            markdown=style is not None and style.choice(("HTML", "MARKDOWN")) == "MARKDOWN",
            parameters=tuple(map(self._parameter, members["parameters"].items())) if "parameters" in members else (),
        )

    def _column(self, node: Node) -> Operand:
        members = self._fields(node, ("name", "display", "aggregation"))
        name = node.required(members, "name", "a column of the query's result")
        aggregation = members.get("aggregation")
        return Operand(name.text(), aggregation.choice(AGGREGATIONS) if aggregation is not None else None)

    def _threshold(self, evaluation: Node, fields: dict[str, Node], operator: str) -> Threshold:
        if operator in UNARY:
            if "threshold" in fields and not fields["threshold"].is_off():
                self._warn(fields["threshold"], f"{operator} compares with nothing; the threshold is not used")
            return None
        node = evaluation.required(fields, "threshold", f"what {operator} compares with")
        members = self._fields(node, ("value", "column"))
        if len(members) != 1:
            node.fail("expected one of value and column")
        if "column" in members:
            return self._column(members["column"])
        values = self._fields(members["value"], ("double_value", "string_value", "bool_value"))
        if len(values) != 1:
            members["value"].fail("expected one of double_value, string_value and bool_value")
        (kind, value), *_ = values.items()
        if kind == "bool_value":
            return value.boolean()
        return value.raw if kind == "string_value" else _number(value)

    def _subscription(self, node: Node) -> Subscription:
        members = self._fields(node, ("destination_id", "user_email"))
        if len(members) != 1:
            node.fail("expected one of destination_id and user_email")
        (kind, value), *_ = members.items()
        return Subscription(**{kind: value.text()})

    def _schedule(self, node: Node) -> Schedule:
        members = self._fields(
            node, ("quartz_cron_schedule", "timezone_id", "pause_status"), ("effective_pause_status",)
        )
        cron = node.required(members, "quartz_cron_schedule", "such as 0 0 8 * * ?")
        zone = node.required(members, "timezone_id", "such as Europe/Berlin")
        status = members.get("pause_status")
        try:
            Quartz(cron.text(), zone.text())
        except ValueError as error:
            cron.fail(str(error))
        paused = status is not None and status.choice(("PAUSED", "UNPAUSED")) == "PAUSED"
        return Schedule(cron.text(), zone.text(), paused)

    def _parameter(self, node: Node) -> Parameter:
        members = self._fields(node, ("name", "value", "type"))
        kind = members.get("type")
        if kind is not None and not _TYPE.fullmatch(kind.text()):
            kind.fail("expected an SQL type such as DOUBLE or DECIMAL(18,2)")
        name = node.required(members, "name", "the parameter's name, without its colon").text()
        return Parameter(name, members["value"].raw if "value" in members else None, kind.text() if kind else None)

    def _fields(self, node: Node, known: Iterable[str], ignored: Iterable[str] = ()) -> dict[str, Node]:
        """The members with a value; unknown ones are warned of."""
        known = (*known,)
        self._unknown(node, (*known, *ignored))
        return {name: member for name, member in node.mapping().items() if member.value is not None and name in known}

    def _unknown(self, node: Node, known: tuple[str, ...]) -> None:
        for name, member in node.mapping().items():
            if name not in known:
                self._warn(member, f"unknown field, not used.{nearest(name, known)}")

    def _note(self, members: dict[str, Node]) -> None:
        for field, why in _UNUSED.items():
            if field in members:
                self._warn(members[field], f"not used: {why}")

    def _warn(self, node: Node, words: str) -> None:
        text = f"{node.file}:{node.line}: {node.field}: {words}"
        if text not in self.warnings:
            self.warnings.append(text)


def _bundle_of(path: Path) -> list[Node]:
    """The documents of the bundle that a file is included in, which has its variables: the nearest databricks.yml."""
    for folder in list(path.resolve().parents)[:_BUNDLE_ABOVE]:
        for name in _BUNDLE_FILES:
            if (folder / name).is_file():
                return read_documents(str(folder / name)) if (folder / name) != path.resolve() else []
    return []


def _query(root: Node, members: dict[str, Node]) -> str:
    given = [name for name in ("query_lines", "query_text") if name in members]
    if len(given) != 1:
        root.missing("query_lines", "expected the query's lines, or in a bundle query_text, and one of the two")
    node = members[given[0]]
    text = _lines(node) if given[0] == "query_lines" else node.text()
    if not text.strip():
        node.fail("the query is empty")
    return text


def _lines(node: Node) -> str:
    """Lines of an alert's file; unlike a dashboard's they have no line ends of their own."""
    return "\n".join(item.raw for item in node.items())


def _number(node: Node) -> Decimal:
    try:
        value = Decimal(node.raw)
    except InvalidOperation:
        node.fail(f"expected a number, not {node.kind}")
    if isinstance(node.value, bool) or not value.is_finite():
        node.fail("expected a number that is finite")
    return value


def _as_far_as_known(node: Node, variables: Variables) -> str:
    """A name as people read it; what only a deployed bundle knows stays as it is written."""
    try:
        return variables.substitute(node).text()
    except UnsupportedConfigError:
        return node.text()


def _substituted(node: Node, variables: Variables) -> Node:
    """With the file's own values in its references; who runs it is known only then."""
    if node.value == CURRENT_USER:
        return node
    if isinstance(node.value, dict):
        members = {name: _substituted(member, variables) for name, member in node.value.items()}
        return Node(members, file=node.file, line=node.line, field=node.field)
    if isinstance(node.value, list):
        items = [_substituted(item, variables) for item in node.value]
        return Node(items, file=node.file, line=node.line, field=node.field)
    return variables.substitute(node)


def _refuse_references(node: Node) -> None:
    """Databricks fills in no references inside a `.dbalert.json`, and its command line refuses them."""
    if isinstance(node.value, dict):
        for member in node.value.values():
            _refuse_references(member)
    elif isinstance(node.value, list):
        for item in node.value:
            _refuse_references(item)
    elif isinstance(node.value, str) and (found := _BUNDLE_REFERENCE.search(node.value)):
        node.refuse(
            f"{found[0]} is not filled in inside a {os.path.basename(SUFFIX)[1:]} file; write the value, or the alert "
            "into the bundle's YAML"
        )
