"""Shared answers in the Redis of a cluster, for workers on several hosts. Knows no engine.

Few commands for a batch of keys. An answer is written before its claim is given up, and looked for again after a claim
was won, so that nobody asks for what was answered in between.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from aiq.answers.shared import Claimed, Entry, Shared, is_dead, is_local, process_name
from aiq.errors import LedgerError

PREFIX = "aiq:statements:"
ALIVE_MS = 20_000
"""How long a process on another host counts as alive after it was heard of."""
BEAT_S = 5.0
KEEP_S = 7 * 86400
TIMEOUT_S = 5.0
_KEYS_AT_ONCE = 5000
# Gives a claim of a dead process to another one, if nobody was faster.
_TAKE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""


class RedisAnswers:
    """Shared answers of all processes that use one Redis. Connects with the first call."""

    together_s = 0.004

    def __init__(
        self, url: str, password: Callable[[], str | None], *, process: Callable[[], str] = process_name
    ) -> None:
        self._url, self._password, self._process = url, password, process
        self._lock = threading.Lock()
        self._client: Any = None
        self._stopped = threading.Event()
        self._touched: dict[bytes, str] = {}

    def claim(self, statement: Shared, keys: Sequence[bytes]) -> Claimed:
        with self._connected() as redis:
            answers, claims = _names(statement.scope)
            known = self._find(redis, answers, keys, failed=True)
            reused = self._of_others(redis, statement, known)
            known = {key: text for key, text in known.items() if key not in reused}
            rest = [key for key in keys if key not in known and key not in reused]
            if not rest:
                return Claimed(known, reused, [], [])
            self._touch(redis, statement)
            reused |= self._resume(redis, statement, answers, rest)
            rest = [key for key in rest if key not in reused]
            mine, theirs = self._divide(redis, claims, rest)
            late = self._find(redis, answers, mine, failed=True)  # answered before the claim was ours
            if late:
                redis.hdel(claims, *late)
            return Claimed(known | late, reused, [key for key in mine if key not in late], theirs)

    def keep(self, statement: Shared, entries: Sequence[Entry]) -> None:
        with self._connected() as redis:
            answers, claims = _names(statement.scope)
            pipe = redis.pipeline(transaction=False)
            self._serve(pipe, statement, [entry.key for entry in entries])
            for start in range(0, len(entries), _KEYS_AT_ONCE):
                part = entries[start : start + _KEYS_AT_ONCE]
                pipe.hset(answers, mapping={entry.key: f"{int(entry.failed)}{entry.text}".encode() for entry in part})
                pipe.hdel(claims, *(entry.key for entry in part))
            pipe.expire(answers, KEEP_S)
            pipe.execute()

    def keep_at_once(self, statement: Shared, entries: Sequence[Entry]) -> bool:
        return False  # it is a network away

    def release(self, statement: Shared, keys: Sequence[bytes]) -> None:
        process = self._process().encode()
        with self._connected() as redis:
            _, claims = _names(statement.scope)
            for part in _parts(keys):
                own = [key for key, name in zip(part, redis.hmget(claims, part), strict=True) if name == process]
                if own:
                    redis.hdel(claims, *own)

    def running(self, owner: str) -> list[Shared]:
        with self._connected() as redis:
            found = []
            for scope in redis.smembers(f"{PREFIX}of:{owner}"):
                fields = {name.decode(): value.decode() for name, value in redis.hgetall(_about(scope)).items()}
                if not fields:
                    redis.srem(f"{PREFIX}of:{owner}", scope)
                elif fields["ended"] == "0":
                    caller = bytes.fromhex(fields["caller"])
                    flags = fields["resumable"] == "1", fields["lasting"] == "1"
                    made = Shared(fields["id"], scope, caller, owner, flags[0], fields["run"], flags[1])
                    found.append(made._replace(text=fields.get("text", "")))
            return found

    def progress(self, statement: Shared) -> tuple[int, int]:
        answers, claims = _names(statement.scope)
        with self._connected() as redis:
            if not statement.asking:
                return redis.hlen(answers), redis.hlen(claims)
            names = redis.hvals(_served(statement.scope))
            return sum(name == statement.asking.encode() for name in names), redis.hlen(claims)

    def end(self, statement: Shared, *, well: bool) -> None:
        with self._connected() as redis:
            self._touched.pop(statement.scope, None)
            answers, claims = _names(statement.scope)
            redis.srem(f"{PREFIX}of:{statement.owner}", statement.scope)
            if not well:
                redis.delete(claims)
                if redis.exists(_about(statement.scope)):
                    redis.hset(_about(statement.scope), "ended", "1")
                return
            others = self._others(redis, statement)
            if others:  # what it took from one that was cut off is not there for a third run
                for part in _parts([key for key, _ in redis.hscan_iter(answers, count=1000)]):
                    for scope in others:
                        redis.hdel(_names(scope)[0], *part)
            redis.srem(f"{PREFIX}by:{statement.caller.hex()}", statement.scope)
            redis.unlink(answers, claims, _served(statement.scope), _about(statement.scope))

    def close(self) -> None:
        self._stopped.set()
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _touch(self, redis: Any, statement: Shared) -> None:
        if self._touched.get(statement.scope) == statement.run:
            return
        self._touched[statement.scope] = statement.run
        about = _about(statement.scope)
        pipe = redis.pipeline(transaction=False)
        pipe.hsetnx(about, "ended", "0")
        pipe.hset(
            about,
            mapping={
                "id": statement.id,
                "caller": statement.caller.hex(),
                "owner": statement.owner,
                "resumable": int(statement.resumable),
                "run": statement.run,
                "lasting": int(statement.lasting),
                "text": statement.text,
            },
        )
        pipe.sadd(f"{PREFIX}of:{statement.owner}", statement.scope)
        pipe.sadd(f"{PREFIX}by:{statement.caller.hex()}", statement.scope)
        for name in (about, f"{PREFIX}of:{statement.owner}", f"{PREFIX}by:{statement.caller.hex()}"):
            pipe.expire(name, KEEP_S)
        pipe.execute()

    def _resume(self, redis: Any, statement: Shared, answers: str, keys: Sequence[bytes]) -> dict[bytes, str]:
        found: dict[bytes, str] = {}
        for scope in self._others(redis, statement):
            rest = [key for key in keys if key not in found]
            found |= self._find(redis, _names(scope)[0], rest, failed=False)
        if found:
            self._serve(redis, statement, list(found))
            redis.hset(answers, mapping={key: f"0{text}".encode() for key, text in found.items()})
        return found

    def _of_others(self, redis: Any, statement: Shared, known: dict[bytes, str]) -> dict[bytes, str]:
        """Those of `known` that another statement of the session was answered, from here on this one's.

        What another one failed with is forgotten, also in `known`: it is asked again.
        """
        if not statement.asking or not known:
            return {}
        answers, claims = _names(statement.scope)
        asking = statement.asking.encode()
        others = []
        for part in _parts(list(known)):
            found = redis.hmget(_served(statement.scope), part)
            others += [key for key, name in zip(part, found, strict=True) if name != asking]
        reused = self._find(redis, answers, others, failed=False)
        for part in _parts([key for key in others if key not in reused]):
            redis.hdel(answers, *part)
            redis.hdel(claims, *part)
            for key in part:
                del known[key]
        self._serve(redis, statement, list(reused))
        return reused

    @staticmethod
    def _serve(redis: Any, statement: Shared, keys: Sequence[bytes]) -> None:
        """Notes which statement of a session had some answers last."""
        if not statement.asking:
            return
        name = _served(statement.scope)
        for part in _parts(keys):
            redis.hset(name, mapping=dict.fromkeys(part, statement.asking))
            redis.expire(name, KEEP_S)

    def _others(self, redis: Any, statement: Shared) -> list[bytes]:
        """The scopes of the same caller whose statements were cut off."""
        name = f"{PREFIX}by:{statement.caller.hex()}"
        found = []
        for scope in redis.smembers(name) - {statement.scope}:
            owner, ended, resumable = redis.hmget(_about(scope), "owner", "ended", "resumable")
            if owner is None:
                redis.srem(name, scope)
            elif resumable == b"1" and (ended == b"1" or not self._lives(redis, owner.decode())):
                found.append(scope)
        return found

    def _divide(self, redis: Any, claims: str, keys: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
        process = self._process()
        pipe = redis.pipeline(transaction=False)
        for key in keys:
            pipe.hsetnx(claims, key, process)
        pipe.expire(claims, KEEP_S)
        won = pipe.execute()[:-1]
        mine = [key for key, new in zip(keys, won, strict=True) if new]
        lost = [key for key, new in zip(keys, won, strict=True) if not new]
        lives = cache(lambda name: self._lives(redis, name))
        theirs = []
        for key, name in zip(lost, redis.hmget(claims, lost) if lost else [], strict=True):
            other = (name or b"").decode()
            if other == process:
                mine.append(key)
            elif name is None or lives(other):
                theirs.append(key)  # where it has just been answered, it is known the next time
            else:
                (mine if redis.eval(_TAKE, 1, claims, key, name, process) else theirs).append(key)
        return mine, theirs

    @staticmethod
    def _find(redis: Any, answers: str, keys: Sequence[bytes], *, failed: bool) -> dict[bytes, str]:
        found = {}
        for part in _parts(keys):
            for key, value in zip(part, redis.hmget(answers, part), strict=True):
                if value is not None and (failed or value[:1] == b"0"):
                    found[key] = value[1:].decode("utf-8", "surrogatepass")
        return found

    @staticmethod
    def _lives(redis: Any, name: str) -> bool:
        if is_local(name):
            return not is_dead(name)
        return bool(redis.exists(f"{PREFIX}alive:{name}"))

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        library = importlib.import_module("redis")
        try:
            with self._lock:
                if self._client is None:
                    self._client = library.Redis.from_url(
                        self._url, password=self._password(), socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
                    )
                    self._beat(self._client)
                    threading.Thread(target=self._beat_on, name="aiq-shared", daemon=True).start()
            yield self._client
        except library.RedisError as error:
            raise LedgerError(f"answers cannot be shared in the Redis of limits_redis_url: {error}") from error

    def _beat(self, redis: Any) -> None:
        redis.set(f"{PREFIX}alive:{self._process()}", 1, px=ALIVE_MS)

    def _beat_on(self) -> None:
        """Tells the other hosts that this process lives. Where it cannot, its claims are others' after a while."""
        library = importlib.import_module("redis")
        while not self._stopped.wait(BEAT_S):
            client = self._client
            if client is None:
                return
            try:
                self._beat(client)
            except library.RedisError:
                continue


def _names(scope: bytes) -> tuple[str, str]:
    """The hashes of a statement's answers and claims."""
    return f"{PREFIX}{scope.hex()}:answers", f"{PREFIX}{scope.hex()}:claims"


def _served(scope: bytes) -> str:
    return f"{PREFIX}{scope.hex()}:served"


def _about(scope: bytes) -> str:
    return f"{PREFIX}{scope.hex()}"


def _parts(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        yield keys[start : start + _KEYS_AT_ONCE]
