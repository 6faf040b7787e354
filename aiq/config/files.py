"""The files of a configuration as texts, to be read again on another host. Must never let a secret through.

Comments are left out: people keep there what they would not send around.
"""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from aiq.config.connections import Secret
from aiq.config.endpoint import Config
from aiq.config.load import endpoint_files
from aiq.config.secrets import PLAINTEXT
from aiq.errors import ConfigError


def configuration_files(config: Config) -> tuple[tuple[str, str], ...] | None:
    """Path in the folder and text of each file. None where one of them holds a plain secret or a proxy's password.

    Raises ConfigError for a file that cannot be read.
    """
    if _holds_a_secret(config):
        return None
    folder = Path(config.folder)
    paths = [folder / "aiq.yml", *map(Path, endpoint_files(str(folder / "endpoints")))]
    if config.settings.ca_file is not None and Path(config.settings.ca_file).is_relative_to(folder):
        paths.append(Path(config.settings.ca_file))
    files = []
    for path in paths:
        try:
            text = path.read_text()
        except FileNotFoundError:  # aiq.yml need not be there
            continue
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from None
        if path.suffix in (".yml", ".yaml"):
            text = yaml.safe_dump_all(list(yaml.safe_load_all(text)), sort_keys=False)
        files.append((os.path.relpath(path, folder), text))
    return tuple(files)


def _holds_a_secret(config: Config) -> bool:
    # A repr shows where every secret is looked up, and never its value.
    plain = repr(Secret("", PLAINTEXT))
    shown = repr(config)
    return plain in shown or ":***@" in shown
