"""Every example of README and docs that is marked as run does run, from the page's text, before the simulator.

A page's blocks run in order, in a folder of their own with a small shop: what one makes the next may use. A comment
`-- 2 requests` behind a statement is counted. A file's first line says where it goes.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

import aiq
from aiq.demo.sample_files import lamp
from aiq.simulator.process import SimulatorProcess
from aiq.sql.script import split
from tests.contract.tiny_model import install_tiny_model
from tests.pages import DOCS, ROOT, RUN, Block, blocks
from tests.prepared import prepared
from tests.processes import PATIENCE_S

PAGES = [page for page in (ROOT / "README.md", *DOCS) if any(RUN in block.words.split() for block in blocks(page))]
MODELS = {
    "chat": ("gpt-4o-mini", "llm/v1/chat"),
    "embeddings": ("text-embedding-3-small", "llm/v1/embeddings"),
}
REVIEWS = [
    (1, "lamp", 5, "Bright, and it came the next day."),
    (2, "lamp", 1, "The delivery took three weeks."),
    (3, "chair", 4, "Comfortable; one screw was missing."),
    (7, "chair", 2, "It wobbles on every floor."),
]
PIPELINE = "SELECT `id`, ai_query('chat', concat('Translate: ', `body`)) AS `text` FROM `reviews`"
_COUNT = re.compile(r"-- (\d+) requests?$")


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess.start() as process:
        yield process


@pytest.fixture
def shop(tmp_path: Path, simulator: SimulatorProcess, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    for name in ("AIQ_HOME", "AIQ_CONF", "AIQ_USER"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "lamp.png").write_bytes(lamp())
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "one.txt").write_text("Where is my lamp?\n")
    (tmp_path / "pipeline.sql").write_text(PIPELINE)
    (tmp_path / "conf" / "endpoints").mkdir(parents=True)
    (tmp_path / "conf" / "aiq.yml").write_text("progress: false\n")
    for name, (model, task) in MODELS.items():
        access = {"openai_api_base": f"{simulator.url}/v1", "openai_api_key_plaintext": "x"}
        external = {"name": model, "provider": "openai", "task": task, "openai_config": access}
        body = {
            "name": name,
            "config": {"served_entities": [{"name": "main", "external_model": external}]},
            "ai_gateway": {
                "usage_tracking_config": {"enabled": True},
                "inference_table_config": {"enabled": True, "catalog_name": "main", "schema_name": "aiq"},
            },
        }
        (tmp_path / "conf" / "endpoints" / f"{name}.yml").write_text(yaml.safe_dump(body))
    with duckdb.connect("shop.duckdb") as con:
        con.execute("CREATE TABLE reviews (id INTEGER, product VARCHAR, stars INTEGER, body VARCHAR)")
        con.executemany("INSERT INTO reviews VALUES (?, ?, ?, ?)", REVIEWS)
    return tmp_path


class Reader:
    """Runs the blocks of one page as its reader would."""

    def __init__(self, simulator: SimulatorProcess) -> None:
        self._simulator = simulator
        self._session: aiq.Session | None = None
        self._names: dict[str, Any] = {"aiq": aiq, "con": duckdb.connect()}

    def run(self, block: Block) -> None:
        """Raises whatever goes wrong."""
        if block.language == "sql":
            self._sql(block.text)
        elif block.language == "python":
            exec(compile(block.text, "the page", "exec"), self._names)
        elif block.language == "yaml":
            Path(block.text.splitlines()[0].removeprefix("# ")).write_text(block.text)
        else:
            assert block.language == "sh", block
            self.close()  # a database is open in one process
            for line in block.text.splitlines():
                _command(line)

    def close(self) -> None:
        """Closes what the page has opened."""
        for value in (self._session, *self._names.values()):
            if isinstance(value, aiq.Session):
                value.close()
        self._session = None

    def _sql(self, text: str) -> None:
        self._session = self._session or aiq.connect("shop.duckdb", conf="conf", home=".aiq")
        place = 0
        for statement in split(text, "duckdb"):
            place = text.index(statement, place) + len(statement)
            said = _COUNT.search(text[place : (text + "\n").index("\n", place)])
            before = self._simulator.stats()["requests"]
            rows = self._session.sql(statement)
            if rows is not None:
                rows.fetchall()
            if said is not None:
                assert self._simulator.stats()["requests"] - before == int(said[1]), statement


def _command(line: str) -> None:
    words = shlex.split(line, comments=True)
    assert words[0] == "aiq", line
    done = prepared().run("-m", "aiq.cli", *words[1:], cwd=Path.cwd(), env={**os.environ}, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_the_examples_of_a_page_run(page: Path, shop: Path, simulator: SimulatorProcess) -> None:
    reader = Reader(simulator)
    try:
        for block in blocks(page):
            if RUN in block.words.split():
                try:
                    reader.run(block)
                except Exception as error:
                    raise AssertionError(f"{page.name}:{block.line}: {error!r}") from error
    finally:
        reader.close()


def test_the_demo_prints_what_readme_shows(tmp_path: Path) -> None:
    """But for figures, and for rows of tables: they depend on the model, and on which packages are installed."""
    pytest.importorskip("xllamacpp", reason="what runs a model is not installed: pip install 'aiq[local]'")
    install_tiny_model(tmp_path)
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    words = ("-m", "aiq.cli", "demo", "--rows", "2")
    done = prepared().run(*words, env={**kept, "PYTHONUTF8": "1"}, cwd=tmp_path, timeout=PATIENCE_S)
    said = {_without_figures(line) for line in done.stdout.splitlines()}
    (shown,) = (block for block in blocks(ROOT / "README.md") if block.language == "text")
    lines = [line for line in shown.text.splitlines() if line != "..." and not line.startswith("│")]
    assert len(lines) >= 8
    assert [line for line in lines if _without_figures(line) not in said] == [], done.stderr


def _without_figures(line: str) -> str:
    return re.sub(r"\d[\d,.]*", "0", line).rstrip()


def test_every_column_of_explain_ai_is_documented_and_no_other(shop: Path) -> None:
    text = (ROOT / "docs" / "cost.md").read_text()
    table = text[text.index("| Column | Meaning |") :].partition("\n\n")[0]
    documented = [name for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in row.split(", ")]
    with aiq.connect("shop.duckdb", conf="conf", home=".aiq") as session:
        rows = session.sql("EXPLAIN AI ANALYZE SELECT ai_query('chat', body) FROM reviews")
        assert rows is not None
        columns = rows.columns
    actual = [f"`{name}`" for name in columns if name.startswith("actual_")]
    assert documented == [f"`{name}`" for name in columns if not name.startswith("actual_")]
    assert [name for name in actual if name not in text] == []
    assert len(actual) == 8


def test_the_first_errors_say_what_their_page_says(shop: Path) -> None:
    rows = re.findall(r"^\| `(S.+?)` \| `(.+?)` \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert len(rows) == 10
    said = {}
    with aiq.connect("shop.duckdb", conf="conf", home=".aiq") as session:
        for statement, _ in rows:
            with pytest.raises(Exception) as error:
                session.sql(statement.replace("\\|", "|"))
            said[statement] = str(error.value).replace("`", "")
            session.sql("RESET aiq_max_cost_usd")
    assert [(statement, said[statement]) for statement, words in rows if words not in said[statement]] == []
