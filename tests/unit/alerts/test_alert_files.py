"""Alerts are read as Databricks writes them; what has no meaning here is named, and what is not understood refused."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from databricks.sdk.service import sql

from aiq.alerts.alert import AGGREGATIONS, OPERATORS, STATES, Operand, Parameter, Schedule, Subscription
from aiq.alerts.files import read_alerts
from aiq.errors import ConfigError, UnsupportedConfigError

EVALUATION: dict[str, Any] = {
    "source": {"name": "amount"},
    "comparison_operator": "GREATER_THAN",
    "threshold": {"value": {"double_value": 0.1}},
}
LINES = ["SELECT", "  1 AS amount -- of today", "FROM t"]


def written(folder: Path, name: str = "a.dbalert.json", **changes: Any) -> Path:
    path = folder / name
    content = {"evaluation": EVALUATION, "query_lines": LINES, **changes}
    path.write_text(json.dumps({field: value for field, value in content.items() if value is not None}))
    return path


def bundle(folder: Path, alerts: dict[str, Any], **sections: Any) -> Path:
    path = folder / "all.alert.yml"
    path.write_text(yaml.safe_dump({"resources": {"alerts": alerts}, **sections}, sort_keys=False))
    return path


def test_what_the_vendors_sdk_writes_is_read(tmp_path: Path) -> None:
    """Every field that its classes have, inline in a bundle."""
    made = sql.AlertV2(
        display_name="Revenue",
        query_text="SELECT day, amount FROM t WHERE region = :region",
        warehouse_id="abc",
        custom_summary="{{ALERT_NAME}}",
        custom_description="<b>{{QUERY_RESULT_VALUE}}</b>",
        custom_template_format=sql.CustomTemplateFormat.HTML,
        parameters=[sql.AlertStatementParameter(name="region", value="12", type="INT")],
        owner_user_name="ada@example.com",
        run_as=sql.AlertV2RunAs(user_name="ada@example.com"),
        parent_path="/Workspace/x",
        create_time="2026-01-01T00:00:00Z",
        schedule=sql.CronSchedule("0 0 8 * * ?", "Europe/Berlin", sql.SchedulePauseStatus.PAUSED),
        evaluation=sql.AlertV2Evaluation(
            source=sql.AlertV2OperandColumn(name="amount", aggregation=sql.Aggregation.MAX, display="The amount"),
            comparison_operator=sql.ComparisonOperator.LESS_THAN,
            threshold=sql.AlertV2Operand(column=sql.AlertV2OperandColumn(name="least")),
            empty_result_state=sql.AlertEvaluationState.OK,
            state=sql.AlertEvaluationState.TRIGGERED,
            notification=sql.AlertV2Notification(
                True, 60, [sql.AlertV2Subscription(user_email="b@x.org"), sql.AlertV2Subscription(destination_id="d-1")]
            ),
        ),
    )
    found = read_alerts(bundle(tmp_path, {"revenue": made.as_dict()}))
    (alert,) = found.alerts
    assert (alert.id, alert.name, alert.query) == ("revenue", "Revenue", made.query_text)
    assert (alert.source, alert.operator, alert.threshold) == (Operand("amount", "MAX"), "LESS_THAN", Operand("least"))
    assert (alert.empty_state, alert.notify_on_ok, alert.retrigger_s) == ("OK", True, 60)
    assert alert.subscriptions == (Subscription(user_email="b@x.org"), Subscription(destination_id="d-1"))
    assert alert.schedule == Schedule("0 0 8 * * ?", "Europe/Berlin", paused=True)
    assert (alert.summary, alert.description, alert.markdown) == (made.custom_summary, made.custom_description, False)
    assert alert.parameters == (Parameter("region", "12", "INT"),)
    named = [words.split(": ")[1].split(".")[-1] for words in found.warnings]
    assert sorted(named) == ["parent_path", "run_as", "warehouse_id"]


def test_operators_aggregations_and_states_are_the_vendors() -> None:
    assert {each.value for each in sql.ComparisonOperator} == set(OPERATORS)
    assert {each.value for each in sql.Aggregation} == set(AGGREGATIONS)
    assert {each.value for each in sql.AlertEvaluationState} == set(STATES)


def test_lines_of_a_file_are_joined_with_line_ends(tmp_path: Path) -> None:
    path = written(tmp_path, custom_description_lines=["one", "two"], custom_summary="sum")
    found = read_alerts(path)
    assert found.warnings == []
    (alert,) = found.alerts
    assert (alert.id, alert.name, alert.query) == ("a", "a", "\n".join(LINES))
    assert (alert.summary, alert.description) == ("sum", "one\ntwo")
    assert (alert.empty_state, alert.notify_on_ok, alert.retrigger_s, alert.schedule) == ("ERROR", False, 0, None)


@pytest.mark.parametrize(
    ("text", "value"), [("0.1", "0.1"), ("1e6", "1000000"), ("-3", "-3"), ("1000000.0", "1000000")]
)
def test_a_threshold_is_the_number_that_was_written(tmp_path: Path, text: str, value: str) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text().replace('"double_value": 0.1', f'"double_value": {text}'))
    assert read_alerts(path).alerts[0].threshold == Decimal(value)


def test_a_bundle_names_files_and_its_own_variables(tmp_path: Path) -> None:
    written(tmp_path, "of_bundle.dbalert.json")
    written(tmp_path, "alone.dbalert.json")
    inline = {
        "display_name": "[${bundle.target}] inline",
        "warehouse_id": "${var.warehouse}",
        "query_text": "SELECT * FROM ${var.table}",
        "evaluation": EVALUATION | {"notification": {"subscriptions": [{"user_email": CURRENT}]}},
        "permissions": [{"level": "CAN_RUN", "group_name": "users"}],
    }
    named = {"display_name": "From a file", "warehouse_id": "x", "file_path": "./of_bundle.dbalert.json"}
    bundle(tmp_path, {"inline": inline, "key": named}, variables={"table": {"default": "orders"}})
    (tmp_path / "jobs.yml").write_text("resources: {jobs: {j: {name: x}}}")
    (tmp_path / "notes.json").write_text("no alert")
    alerts = {alert.id: alert for alert in read_alerts(tmp_path).alerts}
    assert set(alerts) == {"inline", "key", "alone"}
    assert alerts["inline"].query == "SELECT * FROM orders"
    assert alerts["inline"].name == "[${bundle.target}] inline"
    assert alerts["inline"].subscriptions == (Subscription(user_email=CURRENT),)
    assert alerts["key"].name == "From a file"


def test_variables_are_those_of_the_bundle_that_includes_the_file(tmp_path: Path) -> None:
    (tmp_path / "databricks.yml").write_text("variables: {catalog: {default: shop}, most: {default: 5}}")
    (tmp_path / "resources").mkdir()
    evaluation = EVALUATION | {"threshold": {"value": {"double_value": "${var.most}"}}}
    inline = {"query_text": "SELECT * FROM ${var.catalog}.t", "evaluation": evaluation}
    found = read_alerts(bundle(tmp_path / "resources", {"a": inline})).alerts[0]
    assert (found.query, found.threshold) == ("SELECT * FROM shop.t", Decimal(5))


CURRENT = "${workspace.current_user.userName}"


def test_a_schedule_inside_evaluation_is_read_with_a_warning(tmp_path: Path) -> None:
    schedule = {"quartz_cron_schedule": "0 0 8 * * ?", "timezone_id": "UTC"}
    found = read_alerts(written(tmp_path, evaluation=EVALUATION | {"schedule": schedule}))
    assert found.alerts[0].schedule == Schedule("0 0 8 * * ?", "UTC")
    assert len(found.warnings) == 1 and "evaluation.schedule: stands inside evaluation" in found.warnings[0]


def test_unknown_fields_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.dbalert.json"
    content = {"evaluation": EVALUATION | {"treshold": 1}, "query_lines": LINES, "colour": "red"}
    path.write_text(json.dumps(content, indent=1))
    words = read_alerts(path).warnings
    assert [each.removeprefix(f"{path}:") for each in sorted(words)] == [
        "12: evaluation.treshold: unknown field, not used. Did you mean 'threshold'?",
        "19: colour: unknown field, not used.",
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"condition": {"op": "GREATER_THAN", "operand": {"column": {"name": "a"}}}},
            "condition: is of the first form",
        ),
        ({"rearm": 5}, "rearm: is of the first form"),
        ({"query_lines": None}, "query_lines: expected the query's lines"),
        ({"query_lines": ["", " "]}, "the query is empty"),
        ({"query_lines": ["SELECT ${var.x}"]}, "${var.x} is not filled in inside a dbalert.json file"),
        ({"evaluation": None}, "evaluation: is required"),
        ({"evaluation": EVALUATION | {"source": None}}, "evaluation.source: is required"),
        ({"evaluation": EVALUATION | {"comparison_operator": "OVER"}}, "'OVER' is not one of"),
        ({"evaluation": EVALUATION | {"threshold": None}}, "evaluation.threshold: is required"),
        ({"evaluation": EVALUATION | {"threshold": {"value": {}}}}, "expected one of double_value"),
        ({"evaluation": EVALUATION | {"threshold": {"value": {"double_value": "ten"}}}}, "expected a number"),
        ({"evaluation": EVALUATION | {"threshold": {"value": {"double_value": True}}}}, "expected a number"),
        ({"evaluation": EVALUATION | {"threshold": {"value": {"double_value": "nan"}}}}, "a number that is finite"),
        ({"evaluation": EVALUATION | {"source": {"name": "a", "aggregation": "MODE"}}}, "'MODE' is not one of"),
        ({"evaluation": EVALUATION | {"empty_result_state": "FINE"}}, "'FINE' is not one of"),
        ({"evaluation": EVALUATION | {"notification": {"retrigger_seconds": -1}}}, "from 0 to"),
        ({"evaluation": EVALUATION | {"notification": {"subscriptions": [{}]}}}, "expected one of destination_id"),
        ({"schedule": {"quartz_cron_schedule": "0 8 * * *", "timezone_id": "UTC"}}, "has 5 fields"),
        ({"schedule": {"quartz_cron_schedule": "0 0 8 * * ?", "timezone_id": "Mars"}}, "no time zone 'Mars'"),
        ({"parameters": [{"name": "a", "value": "1", "type": "INT) --"}]}, "expected an SQL type"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as failed:
        read_alerts(written(tmp_path, **changes))
    assert words in str(failed.value) and str(tmp_path / "a.dbalert.json") in str(failed.value)


def test_an_unknown_variable_of_a_query_is_refused(tmp_path: Path) -> None:
    inline = {"query_text": "SELECT '${bundle.target}'", "evaluation": EVALUATION}
    with pytest.raises(UnsupportedConfigError, match="only known to a deployed bundle"):
        read_alerts(bundle(tmp_path, {"a": inline}))


def test_two_alerts_of_one_name_are_refused(tmp_path: Path) -> None:
    written(tmp_path, "a.dbalert.json")
    bundle(tmp_path, {"a": {"query_text": "SELECT 1", "evaluation": EVALUATION}})
    with pytest.raises(ConfigError, match="the alert a is there twice"):
        read_alerts(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{", '"a"', "{}", "a: b: c", "\x00"])
def test_a_file_that_is_no_alert_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.dbalert.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"x\.dbalert\.json"):
        read_alerts(path)
