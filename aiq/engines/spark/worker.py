"""The gateway of a Python worker, by what the driver says of it. Knows no Spark: a worker is a process like any other.

Secrets are looked up here, where they are used: environment of the executor, files of the home, keyring.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from pathlib import Path

from aiq.engines.spark.job import Origin
from aiq.engines.spark.orphaned import end_with
from aiq.errors import ConfigError
from aiq.gateway import Gateway
from aiq.runtime import open_gateway
from aiq.telemetry.export import export


def opened(origin: Origin) -> Gateway:
    """The gateway of this process for `origin`, with whose driver it ends. Raises ConfigError and LedgerError."""
    if origin.watched:  # on Connect a worker serves several clients
        end_with(origin.owner)
    conf = origin.conf if os.path.isdir(origin.conf) else _written(origin)
    gateway = open_gateway(conf, origin.home, parts=origin.parts)
    export(gateway)
    return gateway


def _written(origin: Origin) -> str:
    """The configuration that came with the job, as a folder of the home. Its name is that of its content."""
    if origin.files is None:
        raise ConfigError(
            "holds a plain secret (a field that ends in _plaintext, or a proxy's password), which is not sent to the "
            "executors, and there is no such folder here. Write secrets as {{secrets/<scope>/<key>}}, or put the "
            "folder on every host",
            file=origin.conf,
        )
    digest = hashlib.blake2b(repr(origin.files).encode(), digest_size=16).hexdigest()
    folder = Path(origin.home) / "conf" / digest
    if not folder.is_dir():
        made = folder.with_name(f"{digest}.{uuid.uuid4().hex}")
        for name, text in origin.files:
            path = made / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "w") as file:
                file.write(text)
        try:
            made.rename(folder)
        except OSError:  # another worker of this host was faster
            shutil.rmtree(made)
    return str(folder)
