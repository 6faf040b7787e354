"""Answers that a statement need not ask for, and what becomes of its own. Knows the store, no engine and no provider.

Answers of a statement that did not end well, or whose process died before its result was safe, are there for the next
one that asks the same (resume); beyond that the reuse setting decides: the statement alone, the session, or every later
statement for a time.
"""

from __future__ import annotations

import hashlib
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from aiq.answers.store import AnswerStore
from aiq.batch.texts import KnownTexts, SessionTexts
from aiq.config.reuse import Reuse
from aiq.errors import LedgerError
from aiq.gateway import Gateway
from aiq.request import Caller

MAX_SESSION_ANSWERS = 1_000_000
REMEMBER_AT_ONCE = 10_000


def scope_of(caller: Caller) -> bytes:
    """Whose answers they are: nobody with another identity or other groups gets them."""
    return hashlib.blake2b(repr((caller.user, sorted(caller.groups))).encode(), digest_size=16).digest()


def reuse_of(gateway: Gateway, caller: Caller, name: str, *, asked: Reuse | None = None) -> Reuse:
    """How long a caller may use answers of an endpoint again: what was `asked`, unless the endpoint says no."""
    if not gateway.endpoint(name).may_query(caller):
        return Reuse("off")
    own = gateway.config.settings.endpoints.get(name)
    says = own.reuse if own else None
    if says is not None and says.mode == "off":
        return says
    return asked or says or Reuse("statement")


class KeptAnswers:
    """The answers of one statement beyond its own life. `find` on the engine's threads, `add` on the event loop."""

    def __init__(
        self,
        store: AnswerStore,
        caller: Caller,
        reuse: Callable[[str], Reuse],
        session: dict[bytes, Any],
        *,
        texts: SessionTexts | None = None,
        holder: object = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`reuse` says what holds for an endpoint; `session` are the answers of the session so far, `texts` by text.

        `holder` has the result of the statement when it ends well, and calls `AnswerStore.finish_held` when that is
        safe. None where the answers need not wait for it.
        """
        self._store, self._scope, self._reuse, self._clock = store, scope_of(caller), reuse, clock
        self._session, self._texts, self._holder = session, texts, holder
        self._durable: dict[float, list[tuple[bytes, str]]] = {}
        self._durable_lock = threading.Lock()
        self._broken = False
        store.take_over()

    @property
    def may_serve(self) -> bool:
        """Whether there may be answers of earlier statements that ended well."""
        return bool(self._session) or self._store.has_durable

    def keeps(self, endpoint: str) -> bool:
        """Whether the answers of an endpoint are there for the next statement, where this one does not end well."""
        return not self._broken and self._reuse(endpoint).mode != "off"

    def find(self, statement_id: str | None, endpoint: str, keys: Sequence[bytes]) -> Mapping[bytes, Any]:
        """The values of those keys that are answered already. `statement_id` None: only to know, not to use them."""
        reuse = self._reuse(endpoint)
        if reuse.mode == "off":
            return {}
        found: dict[bytes, Any] = {}
        if reuse.mode == "session":
            found = {key: self._session[key] for key in keys if key in self._session}
            keys = [key for key in keys if key not in found]
        texts: dict[bytes, str] = {}
        if reuse.mode == "durable":
            texts = self._store.recall(self._scope, keys, self._clock())
            keys = [key for key in keys if key not in texts]
        resumed = self._store.resumable(self._scope, keys, statement_id=statement_id)
        values = {key: orjson.loads(text) for key, text in (texts | resumed).items()}
        # A cut-off statement could not do with its answers what this one is to do with them.
        if reuse.mode == "session" and len(self._session) < MAX_SESSION_ANSWERS:
            self._session.update((key, values[key]) for key in resumed)
        if reuse.ttl_s is not None:
            self._remember(REMEMBER_AT_ONCE)
            self._add_durable(reuse.ttl_s, list(resumed.items()))
        return found | values

    def known_texts(self, endpoint: str, kind: bytes) -> KnownTexts | None:
        """What the session knows of one kind of call; None where that is not to be used."""
        if self._texts is None or self._reuse(endpoint).mode != "session":
            return None
        return KnownTexts(self._texts, kind)

    def keep(self, statement_id: str, endpoint: str, answers: list[tuple[bytes, Any]]) -> None:
        """Takes answers as they come; those of a statement that is killed after this are there for the next."""
        reuse = self._reuse(endpoint)
        if reuse.mode == "off":
            return
        if reuse.mode == "session" and len(self._session) < MAX_SESSION_ANSWERS:
            self._session.update(answers)
        entries = [(key, orjson.dumps(value).decode()) for key, value in answers]
        if reuse.ttl_s is not None:
            self._add_durable(reuse.ttl_s, entries)
        self._guarded(partial(self._store.keep, statement_id, self._scope, entries))

    def log(self, statement_id: str) -> Path | None:
        """The file in which the answers of a statement are kept, None for none."""
        return self._store.log(statement_id)

    def end(self, statement_id: str, *, well: bool) -> None:
        """The statement is over. Not on the event loop: it may wait for other processes.

        Once more, with `well` False, where its result could not be handed over after all.
        """
        self._remember(0)
        self._broken = False  # also what was kept before the disk was full must go, or be left
        if not well:
            self._guarded(partial(self._store.abandon, statement_id))
        elif self._holder is None:
            self._guarded(partial(self._store.finish, statement_id))
        else:
            self._guarded(partial(self._store.settle, statement_id, self._holder))

    def _add_durable(self, ttl_s: float, entries: list[tuple[bytes, str]]) -> None:
        with self._durable_lock:
            self._durable.setdefault(ttl_s, []).extend(entries)

    def _remember(self, more_than: int) -> None:
        """Stores durable answers of which more than so many wait, so that they do not fill the memory."""
        with self._durable_lock:
            due = {ttl_s: entries for ttl_s, entries in self._durable.items() if len(entries) > more_than}
            for ttl_s in due:
                del self._durable[ttl_s]
        for ttl_s, entries in due.items():
            for start in range(0, len(entries), REMEMBER_AT_ONCE):
                part = entries[start : start + REMEMBER_AT_ONCE]
                self._guarded(partial(self._store.remember, self._scope, ttl_s, part))

    def _guarded(self, write: Callable[[], object]) -> None:
        """Answers that cannot be kept must not fail the statement that has them."""
        if self._broken:
            return
        try:
            write()
        except LedgerError as error:
            self._broken = True
            warnings.warn(f"{error} (answers are not kept for running this again)", stacklevel=2)
