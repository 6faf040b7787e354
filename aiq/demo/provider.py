"""Which provider the demo asks: one that the environment names, else the models of `aiq local`, else the simulator.

Writes its conf folder. A key is never written down: the files refer to it, and this process hands it on in its own
environment.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from aiq.config.load import load_config
from aiq.config.local import CHAT, EMBEDDINGS, SIMULATOR_PORT, LocalServer, running_server, server_folder
from aiq.config.local import PORT as LOCAL_PORT
from aiq.config.secrets import environment_variable
from aiq.demo.project import local_settings
from aiq.errors import ConfigError
from aiq.ledger.prices import price_of
from aiq.local.models import chat_model
from aiq.local.process import default_threads, start_server, stop_server
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.profile import Latency, Profile

LATENCY = Latency(median_ms=45, sigma=0.25)
_CHARACTERS = 1900
_LOCAL_CHARACTERS = 400
"""The small model loses its thread in a longer text, and repeats itself."""
_LOCAL_CHAT_ROWS = 12
"""Each takes about a second of a core."""
_LOCAL_PATIENCE_S = 30.0
"""The models load in a second or two."""
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
    """Who answers, and where. Rows are of packages, and None is all of them."""

    place: Place
    url: str
    chat_model: str
    embedding_model: str
    """Empty where there is none."""
    rows: int | None = None
    """How many may be asked about."""
    chat_rows: int | None = None
    """About how many of those the chat model is asked."""
    characters: int = _CHARACTERS
    """Of a text, at most."""
    simulator: SimulatorProcess | None = None
    local: bool = False
    """Whether the models of `aiq local` answer."""
    without_local: str = ""
    """Why they do not, where the simulator answers in their place."""


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
        config = _entity_config(base, bool(key))
        _write(place, "Your own endpoint.", {"chat": (chat, config), "embeddings": (embedding, config)})
        url, rows = base or "https://api.openai.com/v1", _affordable_rows(place)
        yield DemoProvider(place, url, chat, embedding, rows=rows)
        return
    why = "" if simulate else _missing()
    if not simulate and not why:
        place = Place(folder / "local")
        _start_afresh(place)
        runs = running_server(place.home)
        try:
            server = runs or _start_local(place)
        except ConfigError as error:
            why = str(error)
        else:
            try:
                yield _asked_locally(place, server)
            finally:
                if runs is None:
                    stop_server(place.home)
            return
    place = Place(folder / "simulated")
    _start_afresh(place)
    with _simulator() as simulator:
        config = ["provider: openai", "openai_config:", f"  openai_api_base: {simulator.url}/v1"]
        config.append("  openai_api_key_plaintext: simulated")
        note = f"A SIMULATOR answers here, not a model. It ended with the demo: aiq simulate --port {simulator.port}"
        chat, embedding = "gpt-4o-mini", "text-embedding-3-small"
        _write(place, note, {"chat": (chat, config), "embeddings": (embedding, config)})
        yield DemoProvider(place, simulator.url, chat, embedding, simulator=simulator, without_local=why)


def _missing() -> str:
    """What the models of `aiq local` lack here; "" where they are installed."""
    try:
        chat_model(None)
    except ConfigError as error:
        return str(error)
    return ""


def _start_local(place: Place) -> LocalServer:
    """On the ports that `aiq local up` takes, or on free ones where those are not. Raises ConfigError."""
    asked = partial(start_server, place.home, threads=default_threads(), model=None, patience_s=_LOCAL_PATIENCE_S)
    try:
        return asked(port=LOCAL_PORT)
    except ConfigError:
        return asked(port=0)


def _asked_locally(place: Place, server: LocalServer) -> DemoProvider:
    """Writes the endpoints of the local models, which cost nothing."""
    models = {
        name: (model.name, ["provider: custom", "custom_provider_config:", f"  custom_provider_url: {model.url}"])
        for name, model in (("chat", server.models[CHAT]), ("embeddings", server.models.get(EMBEDDINGS)))
        if model is not None
    }
    _write(place, "Models of this machine answer while `aiq local up` runs.", models)
    (place.conf / "aiq.yml").write_text(
        local_settings({name: model for name, (model, _) in models.items()}), encoding="utf-8"
    )
    embedder = models["embeddings"][0] if "embeddings" in models else ""
    return DemoProvider(
        place,
        server.models[CHAT].url,
        models["chat"][0],
        embedder,
        chat_rows=_LOCAL_CHAT_ROWS,
        characters=_LOCAL_CHARACTERS,
        local=True,
    )


def _simulator() -> SimulatorProcess:
    """On the port that the written files name, so that `aiq simulate` revives them; on a free one if it is taken."""
    profile = Profile(latency=LATENCY)
    try:
        return SimulatorProcess.start(profile, port=SIMULATOR_PORT)
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


def _write(place: Place, note: str, endpoints: Mapping[str, tuple[str, list[str]]]) -> None:
    """Writes a bundle of `endpoints`: for `chat` and `embeddings`, the model and the lines of its provider."""
    lines = [_MARK, "# To keep changes, copy it to conf/endpoints/ of your own.", f"# {note}", "resources:"]
    lines += ["  model_serving_endpoints:"]
    for name, (model, config) in endpoints.items():
        entity = [f"name: {json.dumps(model)}", f"task: llm/v1/{name}", *config]
        lines += [f"    {name}:", f"      name: {name}", "      config:", "        served_entities:"]
        lines += ["          - external_model:", *(f"              {line}" for line in entity)]
        lines += ["      ai_gateway:", "        usage_tracking_config: {enabled: true}"]
        if name == "chat":
            lines.append("        inference_table_config: {enabled: true, catalog_name: main, schema_name: aiq}")
    place.endpoints.parent.mkdir(parents=True, exist_ok=True)
    place.endpoints.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _start_afresh(place: Place) -> None:
    """Forgets the last demo that cost nothing, so that what is counted is this one's."""
    if not place.folder.exists():
        return
    if not place.endpoints.is_file() or not place.endpoints.read_text(encoding="utf-8").startswith(_MARK):
        raise ConfigError(f"{place.folder} was not made by the demo; choose another folder with --home")
    for part in place.home.glob("*"):
        if part != server_folder(place.home):  # a server may run
            shutil.rmtree(part) if part.is_dir() else part.unlink()
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
