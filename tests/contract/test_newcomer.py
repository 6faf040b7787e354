"""README from its first command to its last recipe, as a newcomer types them.

The environment, the home and the folder are new, the packages those that pip finds; a simulator is in the place of the
provider.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from aiq.demo.project import SHOP
from aiq.simulator.process import SimulatorProcess
from tests.pages import ROOT, RUN, Block, blocks
from tests.processes import PATIENCE_S

README = blocks(ROOT / "README.md")
(INSTALL,) = (block for block in README if "pip install ." in block.text)
RECIPES = [block for block in README if RUN in block.words.split() and block.language != "python"]
PYTHON = [block.text for block in README if RUN in block.words.split() and block.language == "python"]
_RECEIPT = re.compile(r"^[1-9]\d* requests? \(0 reused, 0 failed\), [\d,]+ tokens, \$[\d.]+, [\d.]+ s$", re.MULTILINE)
_NO_INDEX = re.compile(r"connection broken|Failed to establish|name resolution", re.I)


class Newcomer(NamedTuple):
    """Somebody in the folder that `aiq init` made, and what was said until then."""

    folder: Path
    environment: dict[str, str]
    said: str

    def types(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end. Raises AssertionError where it fails."""
        done = _run(words, self.folder, self.environment)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done


def _run(words: tuple[str, ...], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    root = tmp_path_factory.mktemp("newcomer")
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".venv-newcomer-") as installed:  # half a GB, which may be memory
        yield from _begin(root, Path(installed))


def _begin(root: Path, installed: Path) -> Iterator[Newcomer]:
    for name in ("home", "work"):
        (root / name).mkdir()
    cache = subprocess.run([sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True)
    environment = {
        "HOME": str(root / "home"),
        "PATH": os.pathsep.join([str(installed / "bin"), os.defpath]),
        "PIP_CACHE_DIR": cache.stdout.strip(),  # what is downloaded already
        "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_COMPILE": "1",
        "PYTHONUTF8": "1",
    }
    subprocess.run([sys.executable, "-m", "venv", installed], check=True)
    install, start, key = INSTALL.text.splitlines()
    done = _run(("bash", "-ec", install), ROOT, environment)
    if done.returncode and _NO_INDEX.search(done.stderr):
        pytest.skip(f"pip finds no packages: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    begun = _run(("bash", "-ec", f"{start}\npwd"), root / "work", environment)
    assert begun.returncode == 0, begun.stderr
    folder = Path(begun.stdout.splitlines()[-1])
    assert key.startswith("export ")
    environment |= [key.removeprefix("export ").split("=", 1)]
    with SimulatorProcess.start() as simulator:
        for file in (folder / "conf" / "endpoints").iterdir():
            address = f"openai_config:\n          openai_api_base: {simulator.url}/v1"
            file.write_text(file.read_text().replace("openai_config:", address, 1))
        yield Newcomer(folder, environment, begun.stdout)


def test_the_next_commands_that_init_names_are_those_of_readme(newcomer: Newcomer) -> None:
    _, start, key = INSTALL.text.splitlines()
    following = newcomer.said.split("Next:\n")[1]
    assert start.split("&&")[1].split("#")[0].strip() in following
    assert key in following
    assert "aiq doctor" in following


@pytest.mark.parametrize("recipe", RECIPES, ids=[f"README.md:{block.line}" for block in RECIPES])
def test_a_recipe_runs_as_it_is_written(newcomer: Newcomer, recipe: Block) -> None:
    if recipe.language == "sh":
        done = newcomer.types("bash", "-ec", recipe.text)
    else:
        done = newcomer.types("aiq", "sql", "--db", SHOP, recipe.text)
    if recipe.text.startswith("EXPLAIN AI"):
        assert re.match(r"It would ask \d+ requests of 1 call: about \$", done.stdout)
    else:
        assert _RECEIPT.search(done.stderr), done.stderr


def test_the_python_of_readme_runs_in_one_session(newcomer: Newcomer) -> None:
    own = "import duckdb\ncon = duckdb.connect()\n"  # "your own connection"
    done = newcomer.types("python", "-c", own + "\n".join(PYTHON))
    assert sum(map(int, done.stdout.split())) == 300  # the rows of all batches


def test_the_home_of_the_newcomer_stays_empty(newcomer: Newcomer) -> None:
    """All that is kept is in the folder."""
    assert list(Path(newcomer.environment["HOME"]).iterdir()) == []
