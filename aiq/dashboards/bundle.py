"""Vega, Vega-Lite and Vega-Embed as one script, made by vl-convert without a network and kept for the next time."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from aiq.errors import ConfigError

VEGA_LITE = "6.4"
_SNIPPET = "window.vegaEmbed = vegaEmbed;"
MISSING = 'drawing charts needs vl-convert: pip install "aiq[dashboards]"'


def bundle() -> str:
    """The script. Raises ConfigError where vl-convert is not installed."""
    try:
        import vl_convert
    except ImportError:
        raise ConfigError(MISSING) from None
    made_by = re.sub(r"[^\w.-]", "", version("vl-convert-python"))
    kept = _folder() / f"vega-lite-{VEGA_LITE}-vl-convert-{made_by}.js"
    with suppress(OSError, UnicodeDecodeError):
        return kept.read_text(encoding="utf-8")
    made = vl_convert.javascript_bundle(_SNIPPET, VEGA_LITE)
    with suppress(OSError):
        _keep(kept, made)
    return made


def _folder() -> Path:
    """The user's folder for what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aiq"


def _keep(file: Path, text: str) -> None:
    """Writes the file as one, or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, path = tempfile.mkstemp(dir=file.parent, prefix=".vega-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as made:
            made.write(text)
        os.replace(path, file)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)
