"""A dbt project whose models ask, run by dbt-duckdb with the plugin `aiq.dbt` in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import duckdb
import pytest

from aiq.demo.project import SIMULATOR_URL, files_of
from aiq.simulator.process import SimulatorProcess
from tests.processes import CLIENTS, PATIENCE_S

PROJECT = Path(__file__).parent / "dbt_project"
needs_dbt = pytest.mark.skipif(not (CLIENTS.parent / "dbt").exists(), reason="dbt is not installed: make clients")
RUN = "import site, sys; site.addsitedir(sys.argv.pop(1)); from dbt.cli.main import cli; cli()"
"""aiq, DuckDB and what they need are found behind dbt's own packages."""


def dbt(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": str(folder), "PATH": os.defpath, "DO_NOT_TRACK": "1"}
    command = [CLIENTS, "-c", RUN, sysconfig.get_paths()["purelib"], "--no-use-colors", *words, "--profiles-dir", "."]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)


@needs_dbt
def test_incremental_models_ask_for_new_rows_only(tmp_path: Path) -> None:
    """A SQL model, and a Python model whose vectors only a session can give."""
    folder = tmp_path / "shop"
    shutil.copytree(PROJECT, folder)
    with SimulatorProcess.start() as simulator:
        for name, text in files_of("simulate").items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text.replace(SIMULATOR_URL, simulator.url))
        with duckdb.connect(str(folder / "shop.duckdb")) as con:
            con.execute("CREATE TABLE reviews AS SELECT i AS id, 'Review ' || i AS body FROM range(5) t(i)")
        done = dbt(folder, "build")
        assert done.returncode == 0, done.stdout
        assert "Done. PASS=3 WARN=0 ERROR=0" in done.stdout
        assert simulator.stats()["requests"] == 5 + 1  # the vectors of 5 texts are one
        with duckdb.connect(str(folder / "shop.duckdb")) as con:
            con.execute("INSERT INTO reviews VALUES (5, 'A new one'), (6, 'Another one')")
        done = dbt(folder, "build")
        assert done.returncode == 0, done.stdout
        assert simulator.stats()["requests"] == 6 + 2 + 1
    with duckdb.connect(str(folder / "shop.duckdb")) as con:
        assert con.execute("SELECT count(*), count(summary) FROM summaries").fetchall() == [(7, 7)]
        assert con.execute("SELECT count(*), min(len(v)) > 1 FROM vectors").fetchall() == [(7, True)]
