"""Sees that files of a `conf` folder have changed and reads them again. Knows no gateway.

A folder that cannot be read changes nothing: the earlier configuration stays in force.
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from pathlib import Path

from aiq.config.endpoint import Config
from aiq.config.load import endpoint_files, load_config, read_folder
from aiq.config.local import running_server, with_local
from aiq.config.secrets import SecretStore
from aiq.errors import ConfigError

Version = tuple[object, ...]


def version_of(folder: str) -> Version:
    """A value that changes when a file of the folder does: names, times of change and sizes."""
    found = []
    for path in sorted([*Path(folder).glob("*.yml"), *Path(folder).glob("endpoints/*")]):
        try:
            stat = path.stat()
        except OSError:  # an editor has just replaced it
            continue
        found.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)


class Reload:
    """`reload()` gives the configuration of a folder if it is another than before, else None. Any thread may call."""

    def __init__(self, folder: str, home: str | os.PathLike[str]) -> None:
        self._folder, self._home = folder, home
        self._absent = not os.path.lexists(folder)
        self._version = self._version_now()
        self._lock = threading.Lock()

    def __call__(self) -> Config | None:
        """Warns of a folder that cannot be read, once for each change, and gives None for it.

        A file that changes while it is read is read again at the next call: half of one may be valid, and be without
        the limits and guardrails of its other half.
        """
        version = self._version_now()
        with self._lock:
            if version == self._version:
                return None
            before, self._version = self._version, version
        config, wrong = None, None
        try:
            _refuse_empty(self._folder)
            if self._absent and not os.path.lexists(self._folder):  # as it was, without files: a local server has come
                config = with_local(read_folder(self._folder, SecretStore(self._home)), self._home)
            else:
                config = load_config(self._folder, self._home)
        except ConfigError as error:
            wrong = error
        if self._version_now() != version:
            with self._lock:
                self._version = before
            return None
        if wrong is not None:
            warnings.warn(f"{wrong} (the configuration that was read before stays in force)", stacklevel=2)
        return config

    def _version_now(self) -> Version:
        return (*version_of(self._folder), running_server(self._home))


def _refuse_empty(folder: str) -> None:
    """An empty file is one that is being written: its endpoints are not gone. Raises ConfigError."""
    for path in endpoint_files(os.path.join(folder, "endpoints")):
        with contextlib.suppress(OSError):
            if os.stat(path).st_size == 0:
                raise ConfigError("is empty; write its endpoint, or delete it", file=path)
