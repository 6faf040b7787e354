"""`aiq metrics` has the figures that a server would have counted."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from aiq import runtime
from aiq.cli.app import app
from aiq.ledger.records import CALLS_SCHEMA, CALLS_TABLE, Outcome
from aiq.serve.metrics import Metrics
from tests.made_ledger import made_ledger


def test_the_tables_say_what_a_server_would_have_counted(tmp_path: Path) -> None:
    (tmp_path / "conf" / "endpoints").mkdir(parents=True)
    counted = Metrics()
    for call in made_ledger(tmp_path / "home", datetime.now(UTC))[CALLS_TABLE]:
        row = {name: call.get(name) for name in CALLS_SCHEMA.names} | {"endpoint": call["endpoint_name"]}
        counted.count(cast(Outcome, SimpleNamespace(**row)))
    where = ["--conf", str(tmp_path / "conf"), "--home", str(tmp_path / "home")]
    try:
        done = CliRunner().invoke(app, ["metrics", "--out", str(tmp_path / "aiq.prom"), *where], catch_exceptions=False)
        shown = CliRunner().invoke(app, ["metrics", *where], catch_exceptions=False).stdout
    finally:
        for gateway in [each for each in runtime._gateways.values() if each.ledger.home == tmp_path / "home"]:
            gateway.ledger.close()
    text = (tmp_path / "aiq.prom").read_text()
    assert (done.exit_code, done.stdout, shown) == (0, "", text)
    assert sorted(os.listdir(tmp_path)) == ["aiq.prom", "conf", "home"]
    wanted, found = figures(counted.text().decode()), figures(text)
    wanted.pop(("aiq_in_flight", ()))
    assert found.keys() == wanted.keys() and len(found) > 100
    assert [key for key, value in found.items() if abs(value - wanted[key]) > 1e-6 * (1 + abs(value))] == []


def figures(text: str) -> dict[Any, float]:
    """The value of each name and its labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
