"""`aiq init`: what it writes loads, and what it says to do next works."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import duckdb
import pytest
from typer.testing import CliRunner

from aiq.cli.app import app
from aiq.config.load import load_config
from aiq.config.local import PARALLEL
from aiq.demo.project import PROVIDERS, SIMULATOR_URL
from aiq.errors import ConfigError
from aiq.providers import adapter_for
from aiq.simulator.process import SimulatorProcess
from aiq.transport.failures import unreachable

Run = Callable[..., CompletedProcess[str]]


def init(*words: str) -> str:
    """What the command says. Raises what it raises."""
    return CliRunner().invoke(app, ["init", *words], catch_exceptions=False).stdout


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_is_written_loads_and_names_its_secrets(tmp_path: Path, provider: str) -> None:
    said = init(str(tmp_path), "--provider", provider)
    config = load_config(tmp_path / "conf", tmp_path / ".aiq")
    assert list(config.endpoints) == list(PROVIDERS[provider].models)
    for endpoint in config.endpoints.values():
        assert endpoint.entities[0].provider == PROVIDERS[provider].name
    text = (tmp_path / "conf" / "endpoints" / "chat.yml").read_text()
    for command in PROVIDERS[provider].key:
        if "AIQ_SECRET_" in command:
            scope, key = command.split("AIQ_SECRET_")[1].split("=")[0].lower().split("_", 1)
            assert f"{{{{secrets/{scope}/{key}}}}}" in text
        assert command in said


def test_nothing_that_is_there_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "aiq.yml").write_text("concurrency: 7\n")
    with pytest.raises(ConfigError, match="nothing was written"):
        init(str(tmp_path), "--sample")
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["conf", "aiq.yml"]
    assert (tmp_path / "conf" / "aiq.yml").read_text() == "concurrency: 7\n"


def test_a_gitignore_keeps_its_lines_and_gets_those_it_lacks(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.log\n.aiq/")
    init(str(tmp_path))
    assert (tmp_path / ".gitignore").read_text() == "*.log\n.aiq/\n*.duckdb.wal\n"


def test_the_sample_is_the_same_everywhere_and_varied(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert "300 reviews" in init(str(tmp_path / name), "--sample")
    with duckdb.connect(str(tmp_path / "a" / "shop.duckdb")) as con:
        con.execute(f"ATTACH '{tmp_path / 'b' / 'shop.duckdb'}' AS b")
        for table in ("products", "reviews", "tickets"):
            assert con.execute(f"SELECT count(*) FROM (FROM {table} EXCEPT ALL FROM b.{table})").fetchall() == [(0,)]
        rows = con.execute("SELECT count(*), count(DISTINCT body), count(DISTINCT stars) FROM reviews").fetchall()
        assert rows[0][0] == 300 and rows[0][1] > 220 and rows[0][2] == 5
        assert con.execute("SELECT count(*) FROM tickets WHERE body LIKE '%{%'").fetchall() == [(0,)]
        kinds = (
            "SELECT count(*) FROM reviews AS r JOIN products AS p ON p.id = r.product_id WHERE p.product <> r.product"
        )
        assert con.execute(kinds).fetchall() == [(0,)]


def test_the_models_of_this_machine_are_asked_no_faster_than_they_answer_and_cost_nothing(tmp_path: Path) -> None:
    init(str(tmp_path), "--provider", "local")
    settings = load_config(tmp_path / "conf", tmp_path / ".aiq").settings
    for name, model in PROVIDERS["local"].models.items():
        assert settings.endpoints[name].concurrency == (PARALLEL if name == "chat" else 1)
        assert settings.prices[model].input_per_mtok == settings.prices[model].output_per_mtok == 0


@pytest.mark.parametrize("provider", ["local", "simulate"])
def test_where_nothing_listens_the_error_is_the_command_that_starts_it(provider: str, tmp_path: Path) -> None:
    init(str(tmp_path), "--provider", provider)
    config = load_config(tmp_path / "conf", tmp_path / ".aiq")
    command = " ".join(PROVIDERS[provider].key[0].split("#")[0].split())
    assert len(config.endpoints) == 2
    for endpoint in config.endpoints.values():
        failed = unreachable(ConnectionRefusedError("refused"), adapter_for(endpoint.entities[0]).address)
        assert f"refused; `{command}` starts it'" in str(failed)
    assert config.settings.retries == (2 if provider == "local" else 10)


def test_the_last_command_that_it_names_answers(run: Run, tmp_path: Path, simulator: SimulatorProcess) -> None:
    """The simulator listens on another port here."""
    folder = tmp_path / "new"
    said = init(str(folder), "--provider", "simulate", "--sample")
    for file in (folder / "conf" / "endpoints").iterdir():
        file.write_text(file.read_text().replace(SIMULATOR_URL, simulator.url))
    words = shlex.split(said.splitlines()[-1])
    conf, home, db = folder / "conf", folder / ".aiq", folder / "shop.duckdb"
    assert words[:4] == ["aiq", "sql", "--db", "shop.duckdb"]
    done = run("sql", "--db", str(db), *words[4:], "--conf", str(conf), "--home", str(home))
    assert done.returncode == 0 and done.stdout.count("[simulated]") == 5, done.stderr


def test_the_errors_that_come_first_say_how_to_start(run: Run, folder: Path) -> None:
    asked = ("sql", "SELECT ai_query('chat', 'x')")
    assert "`aiq init`" in run(*asked, "--conf", "nowhere").stderr
    (folder / "conf" / "endpoints" / "sim.yml").unlink()
    assert "`aiq init`" in run(*asked).stderr
    assert "`aiq init`" in run("endpoints", "list").stdout
