"""A batch before a provider that fails a lot, is down for a while, or stays down: what is lost, and what it takes.

The provider is a simulator in a process of its own. Attempts are counted, not seconds: `tests/unit/gateway/
test_gateway_outage.py` has the waits, in a time of the test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiq
from aiq.errors import RequestFailed
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import FaultRate

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

ROWS = 600
QUERY = (
    "SELECT r.result, r.errorMessage FROM (SELECT ai_query('chat', 'row ' || i, failOnError => false) AS r "
    f"FROM range({ROWS}) t(i) ORDER BY i)"
)


@pytest.fixture
def session(
    make_conf: Callable[[Path, str], ConfFolder], simulator: SimulatorProcess, tmp_path: Path, home: Path
) -> Iterator[Callable[..., aiq.Session]]:
    """`session(retries=3)`: a session over the endpoint `chat`, with these settings."""
    conf, opened = make_conf(tmp_path / "conf", simulator.url), list[aiq.Session]()

    def connect(**settings: Any) -> aiq.Session:
        conf.settings(**settings)
        conf.endpoint("chat")
        opened.append(aiq.connect(conf=conf.path, home=home))
        return opened[-1]

    yield connect
    for each in opened:
        each.close()


def answers(session: aiq.Session) -> list[tuple[str | None, str | None]]:
    result = session.sql(QUERY)
    assert result is not None
    rows: list[tuple[str | None, str | None]] = result.fetchall()
    return rows


@pytest.mark.parametrize("share", [0.25])
def test_where_many_requests_fail_no_row_is_lost_and_attempts_are_few(
    session: Callable[..., aiq.Session], simulator: SimulatorProcess, share: float
) -> None:
    simulator.set_faults(FaultRate("503", share))
    rows = answers(session())
    assert [(result or "").endswith(f"row {i}") for i, (result, _) in enumerate(rows)] == [True] * ROWS
    assert simulator.stats()["requests"] <= 1.3 * ROWS / (1 - share)


@pytest.mark.parametrize("fault", ["503", "reset"])
def test_an_outage_in_the_middle_costs_no_row(
    session: Callable[..., aiq.Session], simulator: SimulatorProcess, fault: str
) -> None:
    simulator.set_faults(FaultRate(fault, 1.0, after=200, until=300))
    rows = answers(session())
    assert [error for _, error in rows if error is not None] == []
    assert simulator.stats()["requests"] == ROWS + 100


def test_a_provider_that_stays_down_ends_a_batch_with_its_words(
    session: Callable[..., aiq.Session], simulator: SimulatorProcess
) -> None:
    simulator.set_faults(FaultRate("503", 1.0))
    rows = answers(session(retries=2))
    errors = [error for _, error in rows if error is not None]
    assert len(errors) == ROWS
    assert "currently overloaded" in errors[-1]
    assert "run the statement again" in errors[-1]
    assert simulator.stats()["requests"] <= ROWS + 4 * 64


def test_a_statement_that_is_to_fail_ends_with_the_first_row_that_is_given_up(
    session: Callable[..., aiq.Session], simulator: SimulatorProcess
) -> None:
    simulator.set_faults(FaultRate("503", 1.0))
    with pytest.raises(RequestFailed, match="run the statement again"):
        session(retries=2).sql(f"SELECT ai_query('chat', 'row ' || i) FROM range({ROWS}) t(i)").fetchall()  # type: ignore[union-attr]
    assert simulator.stats()["requests"] <= 4 * 64


def test_a_silent_provider_is_given_up_after_a_few_timeouts(
    session: Callable[..., aiq.Session], simulator: SimulatorProcess
) -> None:
    simulator.set_faults(FaultRate("timeout", 1.0))
    rows = answers(session(timeout_s=0.5))
    errors = [error for _, error in rows if error is not None]
    assert len(errors) == ROWS
    assert "no answer within 0.5 s" in errors[-1]
    assert simulator.stats()["requests"] <= 2 * 64 + 10
