"""system.serving.served_entities: a row per entity and configuration change, and none without a change."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aiq.config.connections import CustomConfig, ModelServerConfig, OpenAIConfig
from aiq.config.endpoint import Endpoint, ServedEntity
from aiq.ledger import entities
from aiq.ledger.ledger import Ledger
from aiq.ledger.records import SERVED_ENTITIES_TABLE
from aiq.ledger.tables import Tables

GPT = ServedEntity("ent-1", "gpt", "openai", "gpt-4o", "llm/v1/chat", OpenAIConfig(), 70)
OWN = ServedEntity("ent-2", "own", "custom", "llama", "llm/v1/chat", CustomConfig("http://localhost/v1"), 30)
SCORED = ServedEntity(
    "ent-3", "churn", "model-server", "main.ml.churn", "custom", ModelServerConfig("http://localhost"), 100, "3"
)


def endpoint(name: str = "chat", fingerprint: str = "f1", *served: ServedEntity) -> Endpoint:
    return Endpoint(name, f"id-{name}", "llm/v1/chat", served or (GPT, OWN), fingerprint)


def rows(ledger: Ledger) -> list[dict[str, Any]]:
    found = Tables(ledger.home).to_arrow(SERVED_ENTITIES_TABLE).to_pylist()
    return sorted(
        found, key=lambda row: (row["endpoint_name"], row["endpoint_config_version"], row["served_entity_id"])
    )


def versions(ledger: Ledger) -> list[tuple[str, int]]:
    return [(row["served_entity_id"], row["endpoint_config_version"]) for row in rows(ledger)]


def test_a_new_endpoint_has_version_1_and_a_row_for_each_entity(ledger: Ledger) -> None:
    assert ledger.sync_entities([endpoint()], "ann") == {"chat": 1}
    assert versions(ledger) == [("ent-1", 1), ("ent-2", 1)]


def test_an_unchanged_endpoint_adds_no_row(ledger: Ledger) -> None:
    ledger.sync_entities([endpoint()], "ann")
    assert ledger.sync_entities([endpoint()], "bob") == {"chat": 1}
    assert len(rows(ledger)) == 2


def test_a_changed_endpoint_gets_the_next_version(ledger: Ledger) -> None:
    ledger.sync_entities([endpoint()], "ann")
    assert ledger.sync_entities([endpoint(fingerprint="f2")], "ann") == {"chat": 2}
    assert versions(ledger) == [("ent-1", 1), ("ent-2", 1), ("ent-1", 2), ("ent-2", 2)]


def test_another_traffic_split_is_a_change(ledger: Ledger) -> None:
    ledger.sync_entities([endpoint()], "ann")
    other = (dataclasses.replace(GPT, traffic_percentage=100), dataclasses.replace(OWN, traffic_percentage=0))
    assert ledger.sync_entities([endpoint("chat", "f1", *other)], "ann") == {"chat": 2}


def test_going_back_to_an_earlier_configuration_is_a_change(ledger: Ledger) -> None:
    for fingerprint in ("f1", "f2", "f1"):
        found = ledger.sync_entities([endpoint(fingerprint=fingerprint)], "ann")
    assert found == {"chat": 3}
    assert ledger.sync_entities([endpoint(fingerprint="f1")], "ann") == {"chat": 3}


def test_only_the_endpoint_that_changed_gets_rows(ledger: Ledger) -> None:
    ledger.sync_entities([endpoint("a"), endpoint("b")], "ann")
    assert ledger.sync_entities([endpoint("a"), endpoint("b", "f2")], "ann") == {"a": 1, "b": 2}
    assert [row["endpoint_name"] for row in rows(ledger)] == ["a", "a", "b", "b", "b", "b"]


def test_an_external_model_names_its_provider(ledger: Ledger) -> None:
    ledger.sync_entities([endpoint()], "ann")
    row = rows(ledger)[0]
    assert (row["entity_type"], row["external_model_config"]) == ("EXTERNAL_MODEL", {"provider": "openai"})


def test_a_custom_model_names_its_version_and_no_provider(ledger: Ledger) -> None:
    ledger.sync_entities([endpoint("churn", "f1", SCORED)], "ann")
    (row,) = rows(ledger)
    found = [row[name] for name in ("entity_type", "entity_name", "entity_version", "external_model_config")]
    assert found == ["CUSTOM_MODEL", "main.ml.churn", "3", None]


def test_a_row_says_who_and_where(ledger: Ledger) -> None:
    ledger.sync_entities([endpoint()], "ann")
    row = rows(ledger)[0]
    assert (row["created_by"], row["account_id"], row["workspace_id"]) == ("ann", "acc", "42")


def test_the_table_is_the_truth_when_the_file_next_to_it_is_lost(ledger: Ledger) -> None:
    ledger.sync_entities([endpoint()], "ann")
    ledger.sync_entities([endpoint(fingerprint="f2")], "ann")
    (ledger.home / "served_entities.json").unlink()
    assert ledger.sync_entities([endpoint(fingerprint="f2")], "ann") == {"chat": 2}
    assert len(rows(ledger)) == 4


@pytest.mark.parametrize("content", ["{ torn", "[]", '{"chat": 3}', '{"chat": []}'])
def test_a_damaged_file_is_not_believed(ledger: Ledger, content: str) -> None:
    ledger.sync_entities([endpoint()], "ann")
    (ledger.home / "served_entities.json").write_text(content)
    assert ledger.sync_entities([endpoint()], "ann") == {"chat": 1}


def test_nothing_changed_needs_no_look_at_the_table(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.sync_entities([endpoint()], "ann")

    def look(*_: object) -> None:
        raise AssertionError("the table was opened")

    monkeypatch.setattr(entities.delta, "open_table", look)
    assert ledger.sync_entities([endpoint()], "ann") == {"chat": 1}


def test_a_deleted_table_starts_again(ledger: Ledger) -> None:
    ledger.sync_entities([endpoint(fingerprint="f1")], "ann")
    ledger.sync_entities([endpoint(fingerprint="f2")], "ann")
    shutil.rmtree(Tables(ledger.home).path(SERVED_ENTITIES_TABLE))
    assert ledger.sync_entities([endpoint(fingerprint="f2")], "ann") == {"chat": 1}
    assert len(rows(ledger)) == 2


def test_an_endpoint_whose_file_is_gone_was_deleted_and_may_come_again(ledger: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "chat.yml"
    file.write_text("name: chat")
    chat, other = dataclasses.replace(endpoint(), file=str(file)), endpoint("other")
    ledger.sync_entities([chat, other], "ann")
    file.unlink()
    for _ in range(2):
        ledger.sync_entities([other], "ann")
    deleted = {(row["endpoint_name"], row["endpoint_delete_time"]) for row in rows(ledger)}
    assert {name for name, at in deleted if at is not None} == {"chat"}
    assert len(deleted) == 2
    file.write_text("name: chat")
    assert ledger.sync_entities([chat, other], "ann")["chat"] > 1
    assert [row["endpoint_delete_time"] is None for row in rows(ledger)] == [False, False, True, True, True, True]


def test_an_endpoint_of_another_configuration_is_not_deleted(ledger: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "chat.yml"
    file.write_text("name: chat")
    ledger.sync_entities([dataclasses.replace(endpoint(), file=str(file))], "ann")
    ledger.sync_entities([endpoint("other")], "ann")
    assert [row["endpoint_delete_time"] for row in rows(ledger)] == [None] * 4


def test_an_endpoint_that_moved_to_another_file_is_not_deleted(ledger: Ledger, tmp_path: Path) -> None:
    before, after = tmp_path / "a.yml", tmp_path / "b.yml"
    before.write_text("name: chat")
    ledger.sync_entities([dataclasses.replace(endpoint(), file=str(before))], "ann")
    before.rename(after)
    for served in ([dataclasses.replace(endpoint(), file=str(after))], [endpoint("other")]):
        ledger.sync_entities(served, "ann")
    assert [row["endpoint_delete_time"] for row in rows(ledger)] == [None] * 4


def test_versions_survive_a_checkpoint_of_the_log(ledger: Ledger) -> None:
    ledger.sync_entities([endpoint()], "ann")
    Tables(ledger.home).optimize(SERVED_ENTITIES_TABLE)
    (ledger.home / "served_entities.json").unlink()
    assert ledger.sync_entities([endpoint()], "ann") == {"chat": 1}


def test_processes_that_start_at_once_write_each_row_once(ledger: Ledger) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(Path(entities.__file__).parents[2])!r})
from pathlib import Path
from aiq.config.connections import OpenAIConfig
from aiq.config.endpoint import Endpoint, ServedEntity
from aiq.ledger.ledger import Ledger
ledger = Ledger.open(Path(sys.argv[1]))
served = (ServedEntity("e", "e", "openai", "m", "llm/v1/chat", OpenAIConfig(), 100),)
sys.stdin.read(1)
print(ledger.sync_entities([Endpoint("chat", "id", "llm/v1/chat", served, "f")], "ann"))
ledger.close()
"""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(ledger.home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    outputs = [child.communicate("x")[0].strip() for child in children]
    assert outputs == ["{'chat': 1}"] * 3
    assert len(rows(ledger)) == 1
