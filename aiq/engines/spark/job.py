"""What a Python worker needs to know to answer rows: small values that Spark pickles and sends. They hold no secret.

Must never import Spark, nor open anything: the driver makes them, workers act on them (worker.py beside this file).
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from aiq.answers.shared import process_name
from aiq.config.files import configuration_files
from aiq.config.reuse import Reuse
from aiq.config.share import has_limits
from aiq.functions.call_site import CallSite, Options
from aiq.gateway import Gateway
from aiq.request import Caller

REQUEST, FILES, ANSWER = "request", "files", "answer"
"""Columns of `ask`: what is asked, the images that go with it (if there are any), and what it answers."""


class Origin(NamedTuple):
    """Where workers find the configuration and the home, and for whom they ask.

    `conf` and `home` are folders, the same on every host. `files` are the texts of the configuration by their path in
    `conf`, for hosts that have no such folder; None where they hold a plain secret, which must not travel.
    `application` is Spark's application id, `slots` the tasks that can run at once in the whole application. `owner` is
    the driver's process, and `watched` says whether it will tell how each statement ended. `parts`: by what limits are
    divided, where the workers cannot share them.
    """

    conf: str
    home: str
    files: tuple[tuple[str, str], ...] | None
    caller: Caller
    application: str = ""
    slots: int = 1
    owner: str = ""
    watched: bool = True
    reuse: Reuse | None = None
    parts: int = 1

    @classmethod
    def of(
        cls,
        gateway: Gateway,
        caller: Caller,
        *,
        application: str = "",
        slots: int = 1,
        watched: bool = True,
        reuse: Reuse | None = None,
        hosts: int = 1,
    ) -> Origin:
        """The origin of a driver's gateway, for workers on so many `hosts`.

        Warns where they cannot share limits. Raises ConfigError where its files cannot be read.
        """
        conf = str(Path(gateway.config.folder).absolute())
        files = configuration_files(gateway.config) if os.path.isdir(conf) else ()
        home = str(gateway.ledger.home)
        parts = _parts(gateway, slots, hosts)
        return cls(conf, home, files, caller, application, slots, process_name(), watched, reuse, parts)


def _parts(gateway: Gateway, slots: int, hosts: int) -> int:
    store = gateway.config.settings.limits_store
    parts = {"redis": 1, "file": hosts, "memory": slots}[store]
    if parts > 1 and has_limits(gateway.config):
        who = "hosts" if store == "file" else "tasks at once"
        warnings.warn(
            f"rate limits are counted in limits_store: {store}, which {parts} {who} cannot share: each has a fixed "
            f"part of every limit (1/{parts}), and what one leaves over no other one uses. Set limits_store: redis to "
            "use limits up.",
            stacklevel=2,
        )
    return parts


class Job(NamedTuple):
    """One `ai_query(...)` of one statement, for `ask`. `statement` is its id in the ledger, everywhere the same.

    Without one it is Spark's SQL execution that is one statement. `budget_usd` is what each task may spend on it, in US
    dollars; None for any.
    """

    origin: Origin
    statement: str
    endpoint: str
    options: Options
    error_field: str = "result"
    budget_usd: float | None = None


def answer_type(gateway: Gateway, endpoint: str, options: Options, *, error_field: str = "result") -> pa.DataType:
    """The type of the column `answer`. Looks up no secret. Raises what `CallSite` raises for wrong arguments."""
    return CallSite(gateway.endpoint(endpoint), options, error_field=error_field).type
