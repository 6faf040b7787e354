"""The commands beside `aiq sql`: what they say, and that no secret is ever in it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from urllib.request import ProxyHandler, build_opener

import jsonschema_rs
import pytest

from aiq import __version__
from aiq.simulator.vendors import base_urls
from tests.processes import PATIENCE_S, line_with

Run = Callable[..., CompletedProcess[str]]
SECRET = "sk-not-to-be-seen-4711"


def test_the_version_is_told_both_ways(run: Run) -> None:
    assert {run("version").stdout, run("--version").stdout} == {f"aiq {__version__}\n"}


def test_an_unknown_command_is_wrong_usage(run: Run) -> None:
    assert run("nonsense").returncode == 2


def test_endpoints_are_listed_with_model_and_file(run: Run) -> None:
    done = run("endpoints", "list")
    words = ("chat", "gpt-4o-mini", "llm/v1/embeddings", "sim.yml")
    assert (done.returncode, [word for word in words if word not in done.stdout]) == (0, []), done.stderr


@pytest.mark.parametrize("name", ["chat", "embeddings"])
def test_an_endpoint_is_shown_as_json_without_its_secret(run: Run, name: str) -> None:
    done = run("endpoints", "show", name)
    assert (json.loads(done.stdout)["name"], SECRET in done.stdout + done.stderr) == (name, False)


def test_an_unknown_endpoint_is_named_with_the_nearest(run: Run) -> None:
    done = run("endpoints", "show", "chatt")
    assert (done.returncode, "'chat'" in done.stderr) == (1, True)


def test_the_schema_of_endpoint_files_and_of_the_settings_is_shown(run: Run) -> None:
    endpoints, settings = (json.loads(run("endpoints", "schema", *of).stdout) for of in ((), ("--settings",)))
    file = {"name": "chat", "config": {"served_entities": [{"entity_name": "mine"}]}}
    assert (jsonschema_rs.is_valid(endpoints, file), jsonschema_rs.is_valid(endpoints, {})) == (True, True)
    assert not jsonschema_rs.is_valid(endpoints, {**file, "configs": {}})
    wrong = {"timeouts": 3}
    assert (jsonschema_rs.is_valid(settings, {"timeout_s": 3}), jsonschema_rs.is_valid(settings, wrong)) == (
        True,
        False,
    )


def test_right_files_validate(run: Run) -> None:
    done = run("endpoints", "validate")
    assert (done.returncode, "sim.yml: ok (chat, embeddings)" in done.stdout, SECRET in done.stdout) == (0, True, False)


def test_a_missing_secret_is_a_warning(run: Run) -> None:
    done = run("endpoints", "validate", AIQ_SECRET_SIM_KEY="", PYTHON_KEYRING_BACKEND="keyring.backends.null.Keyring")
    assert done.returncode == 0 and "warning: " in done.stdout, done


def test_every_wrong_file_is_named_with_line_and_field(run: Run, folder: Path) -> None:
    for name in ("a.yml", "b.yml"):
        (folder / "conf" / "endpoints" / name).write_text(f"name: {name[0]}\nconfig:\n  served_entitys: []\n")
    done = run("endpoints", "validate")
    wrong = [line for line in done.stdout.splitlines() if ":3: config.served_entitys: unknown field" in line]
    assert (done.returncode, len(wrong)) == (1, 2), done.stdout


def test_one_file_is_validated_by_itself(run: Run, folder: Path) -> None:
    (folder / "other.yml").write_text("name: x\n")
    done = run("endpoints", "validate", "other.yml")
    assert (done.returncode, "sim.yml" in done.stdout) == (1, False)


def test_an_endpoint_defined_twice_is_found(run: Run, folder: Path) -> None:
    file = folder / "conf" / "endpoints" / "sim.yml"
    file.with_name("twin.yml").write_text(file.read_text())
    done = run("endpoints", "validate")
    assert (done.returncode, "defined twice" in done.stdout) == (1, True)


def test_tables_are_listed_optimized_and_vacuumed(run: Run) -> None:
    for number in range(2):
        assert run("sql", f"SELECT ai_query('chat', 'x{number}')").returncode == 0
    name = "system.aiq.calls"
    assert "2 files became 1" in run("tables", "optimize", name).stdout
    assert f"{name}: 0 files would be deleted" in run("tables", "vacuum", name, "--dry-run").stdout
    assert f"{name}: 2 files were deleted" in run("tables", "vacuum", name, "--retain-hours", "0").stdout
    listed = {table["name"]: table["rows"] for table in json.loads(run("tables", "list", "--json").stdout)}
    assert (listed[name], listed["main.aiq.chat_payload"]) == (2, 2)


def test_an_unknown_table_is_named_with_the_nearest(run: Run) -> None:
    run("sql", "SELECT ai_query('chat', 'x')")
    done = run("tables", "optimize", "system.aiq.call")
    assert (done.returncode, "system.aiq.calls" in done.stderr) == (1, True)


def test_an_empty_home_has_no_tables(run: Run) -> None:
    done = run("tables", "list")
    assert (done.returncode, "nothing has been recorded" in done.stdout) == (0, True)


def test_doctor_finds_everything_in_place(run: Run, folder: Path) -> None:
    done = run("doctor")
    assert (done.returncode, "fail" in done.stdout, SECRET in done.stdout) == (0, False, False), done.stdout
    assert not (folder / ".aiq").exists()


def test_doctor_names_a_provider_that_cannot_be_reached(run: Run, folder: Path) -> None:
    with socket.socket() as closed:  # bound and not listening: refuses, and nobody else gets the port
        closed.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{closed.getsockname()[1]}"
        (folder / "conf" / "endpoints" / "gone.json").write_text(
            json.dumps(
                {
                    "name": "gone",
                    "config": {
                        "served_entities": [
                            {
                                "external_model": {
                                    "name": "m",
                                    "provider": "custom",
                                    "task": "llm/v1/chat",
                                    "custom_provider_config": {"custom_provider_url": f"http://{place}/v1"},
                                }
                            }
                        ]
                    },
                }
            )
        )
        done = run("doctor", "--json")
    failed = [check for check in json.loads(done.stdout) if check["result"] == "fail"]
    assert (done.returncode, len(failed)) == (1, 1)
    assert "endpoint gone" in failed[0]["subject"] and place in failed[0]["detail"] and failed[0]["advice"]
    warned = [check for check in json.loads(done.stdout) if "no price is known for model m" in check["detail"]]
    assert len(warned) == 1 and "prices in conf/aiq.yml" in warned[0]["advice"]


def test_doctor_names_a_missing_secret_and_where_it_belongs(run: Run, environment: dict[str, str]) -> None:
    del environment["AIQ_SECRET_SIM_KEY"]
    done = run("doctor", PYTHON_KEYRING_BACKEND="keyring.backends.null.Keyring")
    assert (done.returncode, "AIQ_SECRET_SIM_KEY" in done.stdout) == (1, True)


def test_doctor_reads_a_wrong_configuration_as_a_failure(run: Run, folder: Path) -> None:
    (folder / "conf" / "aiq.yml").write_text("concurency: 3\n")
    done = run("doctor")
    assert (done.returncode, "aiq.yml:1" in done.stdout, "Traceback" in done.stderr) == (1, True, False)


def test_doctor_fails_where_the_home_is_a_file(run: Run, folder: Path) -> None:
    (folder / "file").write_text("")
    done = run("doctor", "--home", "file/home")
    assert (done.returncode, "cannot be written" in done.stdout) == (1, True), done


def test_simulate_says_what_it_is_and_where(folder: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "aiq.cli", "simulate", "--port", "0"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment)
    assert child.stdout is not None
    first = line_with(child, "http://")
    url = next(word for word in first.split() if word.startswith("http://"))
    with build_opener(ProxyHandler({})).open(f"{url}/__stats", timeout=PATIENCE_S) as answer:
        assert json.load(answer)["requests"] == 0
    child.send_signal(signal.SIGINT)
    with child.stdout as stdout:
        rest = stdout.read()
    child.wait(timeout=PATIENCE_S)
    assert first.startswith("A SIMULATOR, not a model")
    assert f"openai_api_base: {url}/v1" in rest and child.returncode == 0


def test_simulate_rehearses_a_bad_day_at_every_provider(folder: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "aiq.cli", "simulate", "--profile", "chaos.yml", "--port", "0"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment)
    assert child.stdout is not None
    first = line_with(child, "http://")
    url = next(word for word in first.split() if word.startswith("http://"))
    with build_opener(ProxyHandler({})).open(f"{url}/__invoice", timeout=PATIENCE_S) as answer:
        assert json.load(answer) == {"lines": []}
    child.send_signal(signal.SIGINT)
    with child.stdout as stdout:
        rest = stdout.read()
    child.wait(timeout=PATIENCE_S)
    assert [whose for whose, base in base_urls(url) if f"{whose:<28} {base}\n" not in rest] == []
    assert child.returncode == 0


def test_a_taken_port_is_a_message(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("simulate", "--port", str(taken.getsockname()[1]))
    assert (done.returncode, "Choose another port" in done.stderr) == (1, True)


@pytest.mark.parametrize("module", ["aiq", "aiq.cli.app"])
def test_importing_pulls_in_nothing_heavy(module: str, environment: dict[str, str]) -> None:
    heavy = ("pandas", "presidio_analyzer", "pyspark", "deltalake", "sqlglot", "pydantic", "httpx", "duckdb", "pyarrow")
    program = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_an_output_file_has_the_modes_of_any_other(run: Run, folder: Path) -> None:
    (folder / "usual").touch()
    assert run("sql", "SELECT 1", "--out", "x.csv").returncode == 0
    assert (folder / "x.csv").stat().st_mode == (folder / "usual").stat().st_mode
