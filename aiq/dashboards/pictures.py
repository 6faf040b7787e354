"""A board's document as PNG or PDF, by the Chromium that is installed: only a browser lays HTML out."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from aiq.dashboards.model import Board
from aiq.errors import ConfigError

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_WIDTH = 1280
_ROW, _HEAD = 60, 130
"""Pixels of a row of the grid, and of what stands above it: page.css."""
_WAIT_S = 120
_DRAWN_MS = 20_000
"""Of the browser's own clock, which does not wait: after it everything is drawn."""


def browser() -> str:
    """The browser's program. Raises ConfigError where there is none."""
    for name in _BROWSERS:
        if (found := shutil.which(name)) is not None:
            return found
    raise ConfigError(
        "PNG and PDF need Chromium or Chrome on the PATH (Debian: apt-get install chromium); --out x.html needs neither"
    )


def height_of(board: Board) -> int:
    """How high a board is, in pixels."""
    rows = [max((tile.y + tile.height for tile in page.tiles), default=1) for page in board.pages]
    return _HEAD + sum(each * _ROW + 50 for each in rows)


def picture(html: str, kind: str, board: Board) -> bytes:
    """The document as "png" or "pdf". Raises ConfigError where no browser can draw it."""
    program = browser()
    with tempfile.TemporaryDirectory(prefix="aiq-") as name:
        folder = Path(name)
        page, out = folder / "board.html", folder / f"board.{kind}"
        page.write_text(html, encoding="utf-8")
        height = min(height_of(board), 16_000)
        how = (
            [f"--screenshot={out}", f"--window-size={_WIDTH},{height}", "--hide-scrollbars"]
            if kind == "png"
            else [f"--print-to-pdf={out}", "--no-pdf-header-footer", f"--window-size={_WIDTH},{height}"]
        )
        command = [
            program,
            "--headless",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-extensions",
            "--disable-background-networking",
            f"--user-data-dir={folder / 'profile'}",
            f"--virtual-time-budget={_DRAWN_MS}",
            *how,
            page.as_uri(),
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # which Chromium has not for root
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_WAIT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"{program} did not draw the board: {error}") from None
        if not out.exists():
            said = done.stderr.strip().splitlines()
            raise ConfigError(f"{program} did not draw the board: {said[-1] if said else done.returncode}")
        return out.read_bytes()
