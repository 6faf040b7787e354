"""What is in a home can be read by its user only, whatever made its folders and whatever the umask is."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aiq.ledger.private import make_private

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

PROGRAM = """
import os, sys
os.umask(0)
conf, home = sys.argv[1:]
os.makedirs(home + "/secrets/openai")
import aiq
for _ in range(2):
    with aiq.connect(conf=conf, home=home) as session:
        session.sql("SET aiq_reuse = 'durable 1 hour'")
        session.sql("SELECT ai_query('chat', 'p' || i) FROM range(20) r(i)").fetchall()
        session.sql("CREATE OR REPLACE VIEW v AS SELECT ai_query('chat', 'x') AS a")
    os.chmod(home, 0o755)
"""


def wide(folder: Path) -> Iterator[str]:
    for path in (folder, *folder.rglob("*")):
        if path.lstat().st_mode & 0o077:
            yield f"{path.relative_to(folder.parent)} {stat.filemode(path.lstat().st_mode)}"


def test_a_home_made_by_hand_without_a_umask_is_private_after_a_statement(conf: ConfFolder, tmp_path: Path) -> None:
    table = {"enabled": True, "catalog_name": "main", "schema_name": "ai", "table_name_prefix": "chat"}
    limits = [{"calls": 1000, "renewal_period": "minute"}]
    conf.endpoint("chat", gateway={"inference_table_config": table, "rate_limits": limits})
    server = {"url": f"{conf.url}/invocations"}
    conf.settings(limits_store="file", endpoints={"model": {"model_server": server}})
    home = tmp_path / "by-hand" / "home"
    subprocess.run([sys.executable, "-c", PROGRAM, str(conf.path), str(home)], check=True, timeout=120)
    made = {path.name for path in home.iterdir()}
    assert {"tables", "limits.sqlite", "served_entities.json", "definitions.sqlite"} <= made
    # Nothing is in the folders of secrets; who may write there is not tightened but refused when one is read.
    assert [each for each in wide(home) if "/secrets" not in each] == [f"home {stat.filemode(0o40755)}"]


def test_an_old_home_is_tightened_and_what_is_not_aiqs_in_it_is_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    log = home / "tables" / "a" / "b" / "c" / "_delta_log"
    log.mkdir(parents=True)
    for path in (log / "0.json", home / "limits.sqlite-wal", home / "mine.txt"):
        path.write_text("x")
        path.chmod(0o666)
    (home / "mine").mkdir(mode=0o755)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (home / "spool").symlink_to(elsewhere)
    home.chmod(0o777)
    make_private(home)
    assert {path.split()[0] for path in wide(home)} == {"home/mine", "home/mine.txt", "home/spool"}
    assert elsewhere.stat().st_mode & 0o077


def test_a_folder_that_all_may_use_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    make_private(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777


@pytest.mark.skipif(os.name != "posix", reason="modes")
def test_a_new_home_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_private(tmp_path / "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
