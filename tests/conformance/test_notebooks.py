"""The notebooks run from top to bottom in kernels of their own; their cells say themselves what has to come out.

The one of Spark runs in tests/conformance/test_spark_pipeline.py, on the Spark that tests share.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
OF_SPARK = NOTEBOOKS[0].with_name("batch_and_stream.ipynb")


async def _run(path: Path, folder: Path) -> list[str]:
    """Runs a notebook; returns the sources of its code cells without an output of any kind."""
    notebook = nbformat.read(path, as_version=4)
    await NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).async_execute()
    return [cell.source for cell in notebook.cells if cell.cell_type == "code" and not cell.outputs]


def test_every_notebook_runs_and_its_assertions_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIQ_CONF", "AIQ_HOME", "AIQ_USER", "AIQ_USAGE_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    assert [path.name for path in NOTEBOOKS] == [
        "agents_over_rest.ipynb",
        "batch_and_stream.ipynb",
        "enrich_and_bill.ipynb",
        "extract_and_search.ipynb",
        "guardrails_and_limits.ipynb",
        "ten_minutes.ipynb",
    ]

    async def all_of_them() -> list[list[str]]:
        return await asyncio.gather(*(_run(path, tmp_path) for path in NOTEBOOKS if path != OF_SPARK))

    for silent in asyncio.run(all_of_them()):
        assert not any(source.startswith("%%ai_sql\nSELECT") for source in silent)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    assert all(
        cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code"
    )
    assert cells[0]["cell_type"] == "markdown" and cells[0]["source"][0].startswith("# ")
    assert sum("assert" in "".join(cell["source"]) for cell in cells) >= 4
