"""The endpoints `local/chat` and `local/embeddings`: there while the server of `aiq local up` runs, without any file.

Reads what that server says of itself in the home. No file of a `conf` folder can have these names (they have a slash).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from aiq.config.connections import CustomConfig
from aiq.config.endpoint import Config, Endpoint, EndpointSettings, Price, ServedEntity
from aiq.config.served_entities import stable_id
from aiq.request import Task

HOST, PORT = "127.0.0.1", 9011
"""Where chat is by default; embeddings are on the next port."""
SIMULATOR_PORT = 9001
"""Where `aiq simulate` listens by default."""
PARALLEL = 2
"""Chat requests that the server works on at once; more than that would wait there, and time out."""
EMBEDDING_BATCH_ROWS = 8
"""Texts of one request: the embedder takes one request after the other, and eight long ones a minute."""
CHAT, EMBEDDINGS = "local/chat", "local/embeddings"
_TASKS: dict[str, Task] = {CHAT: "llm/v1/chat", EMBEDDINGS: "llm/v1/embeddings"}


class LocalModel(NamedTuple):
    """A model that the server runs: its file without the suffix, its size in bytes, and the URL that ends with /v1."""

    name: str
    size: int
    url: str


class LocalServer(NamedTuple):
    """A server that runs: its process, and its models by endpoint."""

    pid: int
    models: dict[str, LocalModel]


def server_folder(home: str | os.PathLike[str]) -> Path:
    """Where the server of a home keeps `server.json`, its log, and the lock that it holds while it runs."""
    return Path(home) / "local"


def running_server(home: str | os.PathLike[str]) -> LocalServer | None:
    """The server of a home; None where there is none, it has been killed, or it has not loaded its models yet."""
    folder = server_folder(home)
    try:
        with open(folder / "lock", "rb") as lock:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None  # no process holds it
            said = json.loads((folder / "server.json").read_bytes())
    except (OSError, ValueError):
        return None
    return LocalServer(said["pid"], {name: LocalModel(*model) for name, model in said["models"].items()})


def with_local(config: Config, home: str | os.PathLike[str]) -> Config:
    """The configuration with the endpoints of a server that runs. They cost nothing; what conf/aiq.yml says wins."""
    server = running_server(home)
    if server is None:
        return config
    settings = config.settings
    free = {model.name: Price(0.0, 0.0) for model in server.models.values()}
    own = {
        CHAT: EndpointSettings(concurrency=PARALLEL),
        EMBEDDINGS: EndpointSettings(concurrency=1, embedding_batch_rows=EMBEDDING_BATCH_ROWS),
    }
    return replace(
        config,
        settings=replace(settings, prices={**free, **settings.prices}, endpoints={**own, **settings.endpoints}),
        endpoints={**config.endpoints, **{name: _endpoint(name, model) for name, model in server.models.items()}},
    )


def absence(name: str) -> str:
    """Why a local endpoint is not there, and what to do; "" for a name of another kind."""
    if not name.startswith("local/"):
        return ""
    if name not in _TASKS:
        return f" The endpoints of the local server are {CHAT} and {EMBEDDINGS}."
    return (
        " It is there while the server of this home runs and has such a model: `aiq local up` starts it, and "
        "`aiq local status` says what it serves."
    )


def starting_command(hostname: str | None, port: int | None) -> str:
    """The command that starts a server at an address where `aiq init` looks for one; "" for every other address."""
    if hostname != HOST:
        return ""
    return {PORT: "aiq local up", PORT + 1: "aiq local up", SIMULATOR_PORT: "aiq simulate"}.get(port or 0, "")


def _endpoint(name: str, model: LocalModel) -> Endpoint:
    task = _TASKS[name]
    called = hashlib.sha256(f"{name}\n{model.name}\n{model.size}".encode())
    entity = ServedEntity(
        id=stable_id(name, model.name),
        name="local",  # a file may be called what an entity may not
        provider="custom",
        model=model.name,
        task=task,
        config=CustomConfig(model.url),
    )
    return Endpoint(
        name=name,
        id=stable_id(name),
        task=task,
        entities=(entity,),
        fingerprint=called.hexdigest()[:32],
        track_usage=True,
    )
