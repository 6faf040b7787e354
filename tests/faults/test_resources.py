"""A session whose process may open few files: our own error, no request paid twice, and the next statement works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aiq.ledger.tables import Tables
from aiq.simulator.process import SimulatorProcess

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

SCRIPT = """
import json, os, resource, sys
import aiq
conf, home = sys.argv[1:]
session = aiq.connect(conf=conf, home=home, user="ann")
session.sql("SELECT ai_query('chat', 'First.')").fetchall()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
said = []
held = []
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
try:
    while True:
        held.append(os.dup(0))
except OSError:
    pass
for run in (session.sql, session.explain, lambda text: list(session.stream(text))):
    try:
        run("SELECT ai_query('chat', 'Second.')")
    except aiq.AiqError as error:
        said.append([type(error).__name__, str(error)])
for descriptor in held:
    os.close(descriptor)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
rows = session.sql("SELECT ai_query('chat', 'Third ' || i) FROM range(20) r(i)").fetchall()
session.close()
print(json.dumps([said, len(rows)]))
"""


def test_without_files_to_open_a_statement_ends_with_our_error_and_the_next_one_works(
    conf: ConfFolder, home: Path, simulator: SimulatorProcess
) -> None:
    conf.endpoint("chat")
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(conf.path), str(home)], stdout=subprocess.PIPE, check=True)
    said, rows = json.loads(done.stdout.splitlines()[-1])
    assert [kind for kind, _ in said] == ["ResourceError"] * 3
    assert all("its limit is 64 (ulimit -n)" in words for _, words in said)
    assert rows == 20
    statuses = Tables(home).to_arrow("system.aiq.calls").column("status").to_pylist()
    assert statuses.count("ok") == simulator.stats()["requests"] == len(statuses)
