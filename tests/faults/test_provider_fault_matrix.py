"""Every fault of the simulator at providers with a form of their own, whole and streamed, from SQL: a row has its whole
answer, from the fallback where need be, or an error; never a part. A provider is a line in `ENTITIES`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aiq
from aiq.simulator import faults
from aiq.simulator.vendors.base import SECRET

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

PROMPT = "Boats sail against the wind by tacking to and fro."
FAULTS = sorted(faults.NAMES - {"huge", "huge-line", "null"})
REFUSED = {"400", "content-filter", "context-length", "refusal"}
"""What no other entity is asked for."""
GATEWAYS: dict[str, dict[str, Any]] = {
    "whole": {},
    "streamed": {"first_token_timeout_s": 1.0, "idle_timeout_s": 1.0},
}
ENTITIES: dict[str, dict[str, Any]] = {
    "anthropic": {"provider": "anthropic", "anthropic_config": {"anthropic_api_key_plaintext": "sk-test"}},
    "amazon-bedrock": {
        "provider": "amazon-bedrock",
        "amazon_bedrock_config": {
            "aws_region": "us-east-1",
            "bedrock_provider": "anthropic",
            "aws_access_key_id_plaintext": "AKIATEST",
            "aws_secret_access_key_plaintext": SECRET,
        },
    },
    "palm": {"provider": "palm", "palm_config": {"palm_api_key_plaintext": "AIza-test"}},
}
"""`external_model` but for name and task; the address is the simulator's."""


@pytest.mark.parametrize("way", GATEWAYS)
@pytest.mark.parametrize("provider", ENTITIES)
def test_a_row_has_its_whole_answer_or_an_error(conf: ConfFolder, home: Path, provider: str, way: str) -> None:
    scored = {"model": {"model_server": {"url": conf.url}}}
    conf.settings(retries_before_fallback=0, timeout_s=2.0, endpoints=scored)

    def served(name: str, model: str) -> dict[str, Any]:
        external = {"name": model, "task": "llm/v1/chat", **ENTITIES[provider]}
        return {"name": name, "external_model": external, "aiq": {"api_base": conf.url}}

    gateway = {"fallback_config": {"enabled": True}, "aiq": GATEWAYS[way]}
    for fault in FAULTS:
        entities = [served("a", f"sim-{fault}"), served("b", "some-model")]
        conf.endpoint(fault, *entities, traffic={"a": 100}, gateway=gateway)
    calls = ", ".join(f"ai_query('{fault}', $p, failOnError => false) AS \"{fault}\"" for fault in FAULTS)
    with aiq.connect(conf=conf.path, home=home) as session:
        row = session.sql(f"SELECT {calls}", {"p": PROMPT}).fetchall()[0]
    for fault, answer in zip(FAULTS, row, strict=True):
        if fault in REFUSED:
            assert answer["result"] is None and answer["errorMessage"], fault
        else:
            assert answer["errorMessage"] is None, fault
            assert (answer["result"] or "").endswith(PROMPT), fault
