"""One session for the tests of dashboards: they only read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiq.engines.connect import connect
from tests.unit.dashboards.boards import connection


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("dashboards")
    (folder / "conf").mkdir()
    with connection() as con, connect(con, conf=folder / "conf", home=folder / "home") as opened:
        yield opened
