"""What one process shares, however many sessions it has: gateways by configuration, ledgers and answers by home.

Also what a process does at its exit and after a fork, installed with the first gateway and never by an import. The
event loop is `batch.loop`, because a batch starts it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from pathlib import Path

from aiq.answers.shared import SharedAnswers
from aiq.answers.shared_file import FileAnswers
from aiq.answers.store import AnswerStore
from aiq.batch.loop import loop_is_running, stop_loop, submit
from aiq.config.endpoint import Config, Settings
from aiq.config.load import load_config
from aiq.config.reload import Reload
from aiq.config.share import part_of_limits
from aiq.forked import check_libraries
from aiq.gateway import Gateway
from aiq.ledger.delta import root_of
from aiq.ledger.ledger import Ledger

_gateways: dict[tuple[str, str, int], Gateway] = {}
_ledgers: dict[str, Ledger] = {}
_stores: dict[str, AnswerStore] = {}
_shared: dict[str, SharedAnswers] = {}
_lock = threading.Lock()
_installed = False


def open_gateway(
    conf: str | os.PathLike[str] | None = None, home: str | os.PathLike[str] | None = None, *, parts: int = 1
) -> Gateway:
    """The gateway of a `conf` folder with the ledger of a `home` folder.

    Defaults: `$AIQ_CONF` then ./conf, `$AIQ_HOME` then ./.aiq. `parts`: how many processes there are that cannot share
    limits; this one has its part of them. Raises ConfigError, LedgerError, and StatementError in a forked process that
    can have no gateway any more.
    """
    check_libraries()
    place = Path(home or os.environ.get("AIQ_HOME") or ".aiq").expanduser().absolute()
    config = part_of_limits(load_config(conf, place), parts)
    folder = str(Path(config.folder).absolute())
    with _lock:
        _install()
        gateway = _gateways.get((folder, str(place), parts))
        if gateway is None:
            reload = Reload(folder, place)

            def reload_part() -> Config | None:
                changed = reload()
                return None if changed is None else part_of_limits(changed, parts)

            gateway = _gateways[folder, str(place), parts] = Gateway(
                config, _ledger(place, config.settings), answers=_answers(place), reload=reload_part
            )
    gateway.refresh()
    return gateway


def _install() -> None:
    """Prepares the end of the process and its forked children, once. What is registered later runs earlier at exit."""
    global _installed
    if not _installed:
        _installed = True
        atexit.register(_close)
        os.register_at_fork(after_in_child=_forget_after_fork)


def _ledger(home: Path, settings: Settings) -> Ledger:
    root = root_of(home, settings)
    place = f"{home} {root}"
    ledger = _ledgers.get(place)
    if ledger is None:
        ledger = _ledgers[place] = Ledger.open(
            home, account_id=settings.account_id, workspace_id=settings.workspace_id, root=root
        )
    return ledger


def _answers(home: Path) -> AnswerStore:
    store = _stores.get(str(home))
    if store is None:
        store = _stores[str(home)] = AnswerStore.open(home)
    return store


def shared_answers(gateway: Gateway) -> SharedAnswers:
    """The answers that all processes share which work on the statements of a gateway's home."""
    place = str(gateway.ledger.home)
    with _lock:
        store = _shared.get(place)
        if store is None:
            store = _shared[place] = _shared_store(gateway)
        return store


def _shared_store(gateway: Gateway) -> SharedAnswers:
    settings = gateway.config.settings
    if settings.limits_store != "redis" or settings.limits_redis_url is None:
        return FileAnswers(gateway.ledger.home)
    from aiq.answers.shared_redis import RedisAnswers

    password = settings.limits_redis_password
    return RedisAnswers(settings.limits_redis_url, lambda: None if password is None else password.reveal())


def _close() -> None:
    if loop_is_running():  # otherwise no request was ever sent, and a thread cannot be started any more
        with contextlib.suppress(Exception):
            submit(_close_gateways()).result(timeout=5)
        stop_loop()
    for ledger in _ledgers.values():
        ledger.close()
    for store in _stores.values():
        store.close()
    for shared in _shared.values():
        shared.close()


async def _close_gateways() -> None:
    for gateway in _gateways.values():
        with contextlib.suppress(Exception):
            await gateway.close()


def _forget_after_fork() -> None:
    """A forked child has neither the loop nor the sockets nor the spool lock of its parent."""
    global _lock
    _lock = threading.Lock()
    for ledger in _ledgers.values():
        ledger.release_after_fork()
    _gateways.clear()
    _ledgers.clear()
    _stores.clear()
    _shared.clear()
