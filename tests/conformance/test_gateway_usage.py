"""`system.ai_gateway.usage`: a row a request, under the names of Databricks' newer gateway."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import aiq
from aiq.errors import StatementError
from aiq.simulator.process import SimulatorProcess
from tests.conftest import ConfFolder
from tests.pages import ROOT


@pytest.fixture
def session(conf: ConfFolder, home: Path, simulator: SimulatorProcess) -> aiq.Session:
    return aiq.connect(conf=conf.path, home=home, user="ann@example.com", usage_context={"project": "churn"})


def rows(session: aiq.Session, text: str) -> list[tuple[object, ...]]:
    found = session.sql(text)
    assert found is not None
    return found.fetchall()


def test_it_is_empty_before_the_first_call(session: aiq.Session) -> None:
    found = session.sql("SELECT * FROM system.ai_gateway.usage")
    assert found is not None and (len(found.columns), found.fetchall()) == (36, [])


def test_a_request_that_was_tried_twice_is_one_row(session: aiq.Session) -> None:
    session.sql("SELECT ai_query('chat', 'Good morning')")
    session.sql("SELECT ai_query('chat', '[[fault:400]] x', failOnError => false)")
    query = "SELECT status_code, requester, request_tags['project'], destination_model, total_tokens > 0, service_type"
    assert rows(session, f"{query} FROM system.ai_gateway.usage ORDER BY status_code") == [
        (200, "ann@example.com", "churn", "gpt-4o-mini", True, None),
        (400, "ann@example.com", "churn", "gpt-4o-mini", None, None),
    ]
    final = rows(session, "SELECT request_id, latency_ms FROM system.aiq.calls WHERE final ORDER BY ALL")
    assert rows(session, "SELECT usage.request_id, u.latency_ms FROM system.ai_gateway.usage JOIN "
                "system.ai_gateway.usage AS u USING (request_id) ORDER BY ALL") == final  # fmt: skip


def test_a_table_of_that_schema_that_is_not_there_is_named(session: aiq.Session) -> None:
    with pytest.raises(StatementError, match=r"system\.ai_gateway\.usage"):
        session.sql("SELECT * FROM system.ai_gateway.usages")


def test_its_columns_that_are_known_are_documented_and_no_other(session: aiq.Session) -> None:
    session.sql("SELECT ai_query('chat', 'Good morning')")
    text = (ROOT / "docs" / "tables.md").read_text()
    section = text[text.index("## `system.ai_gateway.usage`") :].partition("\n## ")[0]
    found = session.sql("SELECT * FROM system.ai_gateway.usage")
    assert found is not None
    documented = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.+?) \|", section, re.MULTILINE))))
    assert documented < {*found.columns}
    (row,) = found.fetchall()
    assert [n for n, value in zip(found.columns, row, strict=True) if n not in documented and value is not None] == []
