"""How a served entity is met over TLS beside what holds for all: a client certificate, an authority of its own.

Plain values; opens no connection.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """PEM files: the certificate that we show with its key, and the authorities that are trusted beside the known."""

    client_certificate: str | None = None
    client_key: str | None = None
    ca_file: str | None = None

    def stamp(self) -> tuple[int, ...]:
        """Another one after a file has been written anew: certificates live for days. 0 for what is not there."""
        return tuple(map(_written, filter(None, (self.client_certificate, self.client_key, self.ca_file))))


def _written(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
