"""Every fault of the simulator, asked for whole and as a stream, from SQL: a whole answer or an error, never a part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiq
from aiq.simulator import faults
from aiq.simulator.process import SimulatorProcess

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

PROMPT = "Boats sail against the wind by tacking to and fro."
FAULTS = sorted(faults.NAMES - {"huge", "huge-line"})
REFUSED = {"400", "content-filter", "context-length", "refusal"}
"""What no other entity is asked for."""
PLAIN: dict[str, Any] = {}
STREAMED = {"first_token_timeout_s": 1.0, "idle_timeout_s": 1.0}


@pytest.mark.parametrize("own", [PLAIN, STREAMED], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_row_has_its_whole_answer_or_an_error(conf: ConfFolder, home: Path, fault: str, own: dict[str, Any]) -> None:
    conf.settings(retries_before_fallback=1, timeout_s=2.0, endpoints={"model": {"model_server": {"url": conf.url}}})
    entities = [conf.entity("a", f"sim-{fault}"), conf.entity("b", "gpt-4o")]
    gateway = {"fallback_config": {"enabled": True}, "aiq": own}
    conf.endpoint("two", *entities, traffic={"a": 100}, gateway=gateway)
    with aiq.connect(conf=conf.path, home=home) as session:
        query = "SELECT ai_query('two', $p, failOnError => false) AS r"
        row = session.sql(query, {"p": PROMPT}).fetchall()[0][0]
    if fault in REFUSED:
        assert row["result"] is None and row["errorMessage"]
    else:
        assert row["errorMessage"] is None
        assert row["result"].endswith(PROMPT)


def test_the_fallback_of_a_silent_stream_is_in_the_ledger_with_its_reason(
    conf: ConfFolder, home: Path, ledger_rows: Any, simulator: SimulatorProcess
) -> None:
    entities = [conf.entity("a", "sim-stall-5000"), conf.entity("b", "gpt-4o")]
    conf.endpoint("two", *entities, traffic={"a": 100}, gateway={"fallback_config": {"enabled": True}, "aiq": STREAMED})
    with aiq.connect(conf=conf.path, home=home) as session:
        session.sql("SELECT ai_query('two', 'Row ' || i) AS r FROM range(3) AS t(i)")
    rows = ledger_rows("system.aiq.calls")
    assert len([row for row in rows if row["final"] and row["status"] == "ok"]) == 3
    silent = [row for row in rows if row["served_entity_name"] == "a"]
    assert {row["error_class"] for row in silent} == {"timeout"}
    assert all("idle_timeout_s" in row["error_message"] for row in silent)
