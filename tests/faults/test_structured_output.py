"""A provider that does not keep the schema it was asked for, from SQL: what is put right, told, billed and recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiq
from aiq.errors import BudgetExceeded
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import FaultRate

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

Ledger = Callable[..., list[dict[str, Any]]]
FORMAT = "STRUCT<answer: STRUCT<name: STRING, prices: ARRAY<STRUCT<amount: DOUBLE, currency: STRING>>, count: INT>>"
QUERY = f"""
SELECT ai_query('chat', 'Row ' || i, failOnError => false, responseFormat => '{FORMAT}') AS r FROM range(60) AS t(i)
"""


@pytest.fixture
def session(conf: ConfFolder, home: Path) -> Iterator[aiq.Session]:
    with aiq.connect(conf=conf.path, home=home) as session:
        yield session


@pytest.fixture
def half(simulator: SimulatorProcess) -> Iterator[SimulatorProcess]:
    """The simulator, whose JSON is wrong half of the time."""
    simulator.set_faults(FaultRate("bad-schema", 0.5))
    yield simulator
    simulator.set_faults()


def test_wrong_answers_are_put_right_and_every_attempt_is_in_the_ledger(
    session: aiq.Session, half: SimulatorProcess, ledger_rows: Ledger
) -> None:
    rows = [row[0] for row in session.sql(QUERY).fetchall()]
    good = [json.loads(row["result"]) for row in rows if row["errorMessage"] is None]
    words = [row["errorMessage"] for row in rows if row["errorMessage"] is not None]
    assert 30 < len(good) < 60 and all(set(answer) == {"name", "prices", "count"} for answer in good)
    assert all("not the JSON" in told and "$" in told for told in words)
    calls = ledger_rows("system.aiq.calls")
    wrong = [call for call in calls if call["error_class"] == "bad_schema"]
    repairs = [call for call in calls if call["route"] == "repair"]
    assert len(calls) == half.stats()["requests"] == 60 + len(repairs)
    assert len(repairs) == len([call for call in wrong if not call["final"]])
    assert len(words) == len([call for call in wrong if call["final"]])
    stats = half.stats()
    assert sum(call["input_tokens"] for call in calls) == stats["prompt_tokens"]
    assert sum(call["output_tokens"] for call in calls) == stats["completion_tokens"]
    assert all(call["cost_usd"] > 0 for call in calls)


def test_a_budget_holds_for_repairs_too(session: aiq.Session, half: SimulatorProcess, ledger_rows: Ledger) -> None:
    session.sql("SET aiq_max_cost_usd = 0.011")
    with pytest.raises(BudgetExceeded):
        session.sql(QUERY)
    calls = ledger_rows("system.aiq.calls")
    assert 0 < sum(call["cost_usd"] or 0.0 for call in calls) <= 0.011
    assert len(calls) == half.stats()["requests"]


def test_a_model_that_never_keeps_a_schema_is_asked_twice(conf: ConfFolder, home: Path, ledger_rows: Ledger) -> None:
    conf.endpoint("chat", conf.entity("a", "sim-bad-schema"), conf.entity("b", "gpt-4o"), traffic={"a": 100})
    with aiq.connect(conf=conf.path, home=home) as session:
        row = session.sql(QUERY.replace("range(60)", "range(1)")).fetchall()[0][0]
    assert row["result"] is None and "after retrying 1 times" in row["errorMessage"]
    assert [call["route"] for call in ledger_rows("system.aiq.calls")] == ["traffic", "repair"]


def test_json_that_max_tokens_cut_is_told_and_not_asked_for_again(
    session: aiq.Session, simulator: SimulatorProcess
) -> None:
    query = QUERY.replace("failOnError", "modelParameters => struct_pack(max_tokens := 3), failOnError")
    rows = [row[0] for row in session.sql(query).fetchall()]
    assert all(row["result"] is None and "raise max_tokens" in row["errorMessage"] for row in rows)
    assert simulator.stats()["requests"] == 60
