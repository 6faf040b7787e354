"""What tests of the whole engine share: one simulated provider, a conf folder to write, a home for each test."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, settings

from aiq.ledger.ledger import Ledger
from aiq.ledger.tables import Tables
from aiq.simulator.process import SimulatorProcess
from tests.schedule import Schedule

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.spark import LocalSpark

# Whoever runs the tests in the background may have made us ignore Ctrl-C, and a child would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How fast a machine draws examples says nothing about what is tested.
settings.register_profile("aiq", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("aiq")

Rows = list[dict[str, Any]]


MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 4 << 30


def pytest_configure(config: pytest.Config) -> None:
    """Long files first, the shared Spark in one worker; folders of tests in memory, where there is room."""
    config.pluginmanager.register(Schedule())
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > _ENOUGH_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


class ConfFolder:
    """A conf folder whose endpoints stand before the simulator, unless they are told otherwise.

    Files are written at once, so an endpoint that is added again under its name replaces the first.
    """

    def __init__(self, path: Path, url: str) -> None:
        self.path, self.url = path, url
        (path / "endpoints").mkdir(parents=True)
        self.settings(progress=False)

    def settings(self, **settings: Any) -> None:
        """Writes `aiq.yml`."""
        (self.path / "aiq.yml").write_text(yaml.safe_dump({"progress": False, **settings}))

    def endpoint(
        self,
        name: str,
        *entities: Mapping[str, Any],
        task: str = "llm/v1/chat",
        model: str = "gpt-4o-mini",
        traffic: Mapping[str, int] | None = None,
        gateway: Mapping[str, Any] | None = None,
        permissions: Sequence[Mapping[str, str]] | None = None,
    ) -> None:
        """Writes `endpoints/<name>.yml`. Without `entities` there is one, called `main`, of `model`."""
        served = list(entities) or [self.entity("main", model, task=task)]
        config: dict[str, Any] = {"served_entities": served}
        if traffic is not None:
            routes = [{"served_entity_name": n, "traffic_percentage": share} for n, share in traffic.items()]
            config["traffic_config"] = {"routes": routes}
        body: dict[str, Any] = {"name": name, "config": config}
        body["ai_gateway"] = {"usage_tracking_config": {"enabled": True}, **(gateway or {})}
        if permissions is not None:
            body["permissions"] = list(permissions)
        text = yaml.safe_dump({"resources": {"model_serving_endpoints": {name: body}}})
        (self.path / "endpoints" / f"{name}.yml").write_text(text)

    def entity(
        self, name: str, model: str, *, task: str = "llm/v1/chat", url: str | None = None, key: str | None = None
    ) -> dict[str, Any]:
        """A served entity with the provider `openai`. `key` is a secret's reference; None gives a plain key."""
        secret = {"openai_api_key_plaintext": "sk-test"} if key is None else {"openai_api_key": key}
        config = {"openai_api_base": url or f"{self.url}/v1", **secret}
        model_config = {"name": model, "provider": "openai", "task": task, "openai_config": config}
        return {"name": name, "external_model": model_config}


@pytest.fixture(scope="session")
def make_conf() -> Callable[[Path, str], ConfFolder]:
    """`make_conf(folder, simulator.url)`, for fixtures that outlive a test."""
    return ConfFolder


@pytest.fixture(scope="session")
def simulator_process() -> Iterator[SimulatorProcess]:
    with SimulatorProcess.start() as process:
        yield process


@pytest.fixture
def simulator(simulator_process: SimulatorProcess) -> SimulatorProcess:
    """The session's simulator with nothing remembered."""
    simulator_process.reset()
    return simulator_process


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home folder of this test's own; what was opened in it is closed at the end."""
    path = tmp_path / "home"
    yield path
    from aiq import runtime

    for gateway in [gateway for gateway in runtime._gateways.values() if gateway.ledger.home == path]:
        with suppress(Exception):
            gateway.ledger.close()


@pytest.fixture
def ledger(home: Path) -> Iterator[Ledger]:
    """The ledger of the home."""
    ledger = Ledger.open(home)
    yield ledger
    ledger.close()


@pytest.fixture
def conf(tmp_path: Path, simulator: SimulatorProcess) -> ConfFolder:
    """A conf folder with the endpoints `chat`, `emb`, `complete` and `model` (a custom model)."""
    folder = ConfFolder(tmp_path / "conf", simulator.url)
    folder.settings(endpoints={"model": {"model_server": {"url": f"{simulator.url}/invocations"}}})
    table = {"enabled": True, "catalog_name": "main", "schema_name": "ai", "table_name_prefix": "chat"}
    folder.endpoint("chat", gateway={"inference_table_config": table})
    folder.endpoint("emb", task="llm/v1/embeddings", model="text-embedding-3-small")
    folder.endpoint("complete", task="llm/v1/completions", model="gpt-3.5-turbo-instruct")
    folder.endpoint("model", {"name": "spam", "entity_name": "spam", "entity_version": "1"})
    return folder


@pytest.fixture
def ledger_rows(home: Path) -> Callable[..., Rows]:
    """`ledger_rows("system.aiq.calls", status="ok")`: the rows of a committed table that have these values."""

    def read(table: str, **wanted: Any) -> Rows:
        tables = Tables(home)
        rows: pa.Table = tables.to_arrow(table) if table in tables.names() else pa.table({})
        return [row for row in rows.to_pylist() if all(row[name] == value for name, value in wanted.items())]

    return read


@pytest.fixture(scope="session")
def local_spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSpark]:
    from tests.spark import LocalSpark

    started = LocalSpark(tmp_path_factory.mktemp("spark"))
    yield started
    started.stop()


@pytest.fixture
def spark(local_spark: LocalSpark) -> SparkSession:
    """One small Spark for all tests: two slots, Delta, no UI, workers of this Python."""
    return local_spark.session()
