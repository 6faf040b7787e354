"""Which provider the demo asks: a real one if the environment names it, else the simulator. Writes its conf folder.

A key is never written down: the files refer to it, and this process hands it on in its own environment.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from aiq.config.load import load_config
from aiq.config.secrets import environment_variable
from aiq.errors import ConfigError
from aiq.ledger.prices import price_of
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import Latency, Profile

PORT = 9001
LATENCY = Latency(median_ms=45, sigma=0.25)
_BUDGET_USD = 0.008
_TOKENS_IN, _TOKENS_OUT = 600, 120
"""A generous guess of one chat request of the demo: 2,000 characters and the instruction, and its answer."""
_MARK = "# Written by `aiq demo`, and written again when it runs again."


class Place(NamedTuple):
    """Where a demo keeps its things."""

    folder: Path

    @property
    def conf(self) -> Path:
        return self.folder / "conf"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def database(self) -> Path:
        return self.folder / "packages.duckdb"

    @property
    def endpoints(self) -> Path:
        return self.conf / "endpoints" / "demo.yml"


class DemoProvider(NamedTuple):
    """Who answers. `url` is where, `rows` how many packages may be asked about (None: all of them)."""

    place: Place
    url: str
    chat_model: str
    embedding_model: str
    simulator: SimulatorProcess | None
    rows: int | None


@contextmanager
def provider(folder: Path, environ: Mapping[str, str], simulate: bool) -> Iterator[DemoProvider]:
    """The provider, ready to be asked, with its endpoints `chat` and `embeddings` written under `folder`.

    Raises ConfigError for a folder that holds somebody else's things.
    """
    key, base = environ.get("OPENAI_API_KEY", ""), environ.get("OPENAI_BASE_URL", "")
    chat = environ.get("OPENAI_MODEL") or "gpt-4o-mini"
    embedding = environ.get("OPENAI_EMBEDDING_MODEL") or "text-embedding-3-small"
    if (key or base) and not simulate:
        if "@" in base:
            raise ConfigError(
                "must not carry a user or a password; put the key into OPENAI_API_KEY", field="OPENAI_BASE_URL"
            )
        place = Place(folder / "real")
        if key:
            os.environ[environment_variable("openai", "api_key")] = key
        _write(place, "Your own endpoint.", _entity_config(base, bool(key)), chat, embedding)
        yield DemoProvider(place, base or "https://api.openai.com/v1", chat, embedding, None, _affordable_rows(place))
        return
    place = Place(folder / "simulated")
    _start_afresh(place)
    with _simulator() as simulator:
        config = ["provider: openai", "openai_config:", f"  openai_api_base: {simulator.url}/v1"]
        config.append("  openai_api_key_plaintext: simulated")
        note = f"A SIMULATOR answers here, not a model. It ended with the demo: aiq simulate --port {simulator.port}"
        _write(place, note, config, "gpt-4o-mini", "text-embedding-3-small")
        yield DemoProvider(place, simulator.url, "gpt-4o-mini", "text-embedding-3-small", simulator, None)


def _simulator() -> SimulatorProcess:
    """On the port that the written files name, so that `aiq simulate` revives them; on a free one if it is taken."""
    profile = Profile(latency=LATENCY)
    try:
        return SimulatorProcess.start(profile, port=PORT)
    except ConfigError:
        return SimulatorProcess.start(profile)


def _entity_config(base: str, has_key: bool) -> list[str]:
    """The lines of an external model. A server of somebody's own is `custom`, which is not billed OpenAI's prices."""
    reference = '"{{secrets/openai/api_key}}"'
    if not base or urlsplit(base).hostname == "api.openai.com":
        lines = ["provider: openai", "openai_config:", f"  openai_api_key: {reference}"]
        return [*lines, f"  openai_api_base: {json.dumps(base)}"] if base else lines
    lines = ["provider: custom", "custom_provider_config:", f"  custom_provider_url: {json.dumps(base)}"]
    return [*lines, "  bearer_token_auth:", f"    token: {reference}"] if has_key else lines


def _write(place: Place, note: str, config: list[str], chat: str, embedding: str) -> None:
    endpoints = [("chat", chat, "llm/v1/chat", True), ("embeddings", embedding, "llm/v1/embeddings", False)]
    lines = [_MARK, "# To keep changes, copy it to conf/endpoints/ of your own.", f"# {note}", "resources:"]
    lines += ["  model_serving_endpoints:"]
    for name, model, task, payloads in endpoints:
        entity = [f"name: {json.dumps(model)}", f"task: {task}", *config]
        lines += [f"    {name}:", f"      name: {name}", "      config:", "        served_entities:"]
        lines += ["          - external_model:", *(f"              {line}" for line in entity)]
        lines += ["      ai_gateway:", "        usage_tracking_config: {enabled: true}"]
        if payloads:
            lines.append("        inference_table_config: {enabled: true, catalog_name: main, schema_name: aiq}")
    place.endpoints.parent.mkdir(parents=True, exist_ok=True)
    place.endpoints.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _start_afresh(place: Place) -> None:
    """Forgets the last simulated demo, so that what is counted is this one's. Nothing of it was paid for."""
    if not place.folder.exists():
        return
    if not place.endpoints.is_file() or not place.endpoints.read_text(encoding="utf-8").startswith(_MARK):
        raise ConfigError(f"{place.folder} was not made by the demo; choose another folder with --home")
    shutil.rmtree(place.home, ignore_errors=True)
    for file in place.folder.glob("packages.duckdb*"):
        file.unlink()


def _affordable_rows(place: Place) -> int:
    """So many that both chat statements stay under a cent at the model's price; 10 where it has none."""
    config = load_config(place.conf, place.home)
    price = price_of(config.endpoints["chat"].entities[0], config.settings.prices)
    if price is None:
        return 10
    each = _TOKENS_IN * price.per_input + _TOKENS_OUT * price.per_output
    return max(1, min(25, int(_BUDGET_USD / (2 * each)))) if each else 25
