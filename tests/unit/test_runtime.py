"""What is shared by a process is installed by `connect` and `register`, never by an import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import atexit, duckdb

before, handlers = duckdb.DuckDBPyConnection.interrupt, []
atexit.register = handlers.append
import aiq, aiq.engines.connect, aiq.engines.spark.session, aiq.runtime

ours = [each for each in handlers if each.__module__.startswith("aiq")]
print(duckdb.DuckDBPyConnection.interrupt is before, len(ours))
for _ in range(2):
    aiq.connect(conf={conf!r}, home={home!r}).close()
print(duckdb.DuckDBPyConnection.interrupt is before, [each.__name__ for each in handlers].count("_close"))
"""


def test_an_import_installs_nothing_and_connect_does_once(tmp_path: Path) -> None:
    folder = tmp_path / "conf" / "endpoints"
    folder.mkdir(parents=True)
    code = CODE.format(conf=str(folder.parent), home=str(tmp_path / "home"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = [line for line in done.stdout.splitlines() if line.startswith(("True", "False"))]  # DuckDB may show a bar
    assert said == ["True 0", "False 1"]
