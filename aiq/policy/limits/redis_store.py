"""Limits that a cluster shares: one Redis (6.2 or later), one script an exchange. Knows windows by name only.

Time is the server's, never a client's. Where the server's clock is set back, time stands still for that moment; where
it is set forward, charges expire early by as much, so keep it disciplined. A Redis that lost its data (a restart
without persistence) is told by its clients what they took lately; a failover may lose the last moment's charges.
"""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Sequence
from typing import Any

import orjson

from aiq.config.connections import Secret
from aiq.errors import ConfigError
from aiq.policy.limits.book import Change, Leased, StoreUnavailable, Want
from aiq.policy.limits.window import NEVER

TIMEOUT_S = 2.0
_REFUSED = frozenset({"AuthenticationError", "AuthorizationError", "NoPermissionError"})
PREFIX = "{aiq}:limits:"
"""Braces: in a Redis cluster all keys lie in one slot, because one script changes several."""

# KEYS[1]: the clock. KEYS[2..]: two for each window, a sorted set of rows by expiry and a hash of their amounts, in
# which "used", "last" and "first" are kept as well. ARGV[1]: changes and clauses, with windows by number.
# Numbers go through string.format, because Lua writes large ones as 1.7e+15.
SCRIPT = """
local function text(n) return string.format('%.0f', n) end
local time = redis.call('TIME')
local wall = time[1] * 1000000 + time[2]
local clock = redis.call('HMGET', KEYS[1], 'now', 'wall', 'row', 'epoch')
local now, row, epoch = tonumber(clock[1] or 0), tonumber(clock[3] or wall), clock[4]
if not epoch then epoch = ARGV[2] end
if clock[2] then now = now + math.max(0, wall - tonumber(clock[2])) end
local input = cjson.decode(ARGV[1])
local used, horizon = {}, {}
local function rows_of(w) return KEYS[2 * w] end
local function amounts_of(w) return KEYS[2 * w + 1] end
for w = 1, (#KEYS - 1) / 2 do
  used[w] = tonumber(redis.call('HGET', amounts_of(w), 'used') or 0)
  horizon[w] = 0
  while true do
    local gone = redis.call('ZRANGEBYSCORE', rows_of(w), '-inf', text(now), 'LIMIT', 0, 1000)
    if #gone == 0 then break end
    for _, amount in ipairs(redis.call('HMGET', amounts_of(w), unpack(gone))) do
      used[w] = used[w] - tonumber(amount or 0)
    end
    redis.call('HDEL', amounts_of(w), unpack(gone))
    redis.call('ZREM', rows_of(w), unpack(gone))
  end
end
local function insert(w, expires, amount)
  row = row + 1
  local id = text(row)
  redis.call('ZADD', rows_of(w), text(expires), id)
  redis.call('HSET', amounts_of(w), id, text(amount), 'last', id, 'first', text(now))
  used[w] = used[w] + amount
  horizon[w] = math.max(horizon[w], expires)
  return id
end
for _, change in ipairs(input.changes) do
  local w, id, amount, period, renew = unpack(change)
  if id == '0' then
    if amount >= 0 then insert(w, now + period, amount) end
  else
    local counted = redis.call('HGET', amounts_of(w), id)
    if counted then
      counted = tonumber(counted)
      local left = math.max(0, counted + amount)
      used[w] = used[w] + left - counted
      redis.call('HSET', amounts_of(w), id, text(left))
      if renew > 0 then
        redis.call('ZADD', rows_of(w), text(now + renew), id)
        horizon[w] = now + renew
      end
    end
  end
end
local function wait_for(w, over)
  local from = 0
  if over <= 0 then return 0 end
  while true do
    local page = redis.call('ZRANGE', rows_of(w), from, from + 199, 'WITHSCORES')
    if #page == 0 then return -1 end
    for i = 1, #page, 2 do
      over = over - tonumber(redis.call('HGET', amounts_of(w), page[i]) or 0)
      if over <= 0 then return tonumber(page[i + 1]) - now end
    end
    from = from + 200
  end
end
-- What a batch leaves to who asks in person, and until when.
local function kept_of(want)
  local share, asked = want[9], want[10]
  if share == 0 then return 0, 0 end
  local last = redis.call('ZREVRANGE', rows_of(asked), 0, 0, 'WITHSCORES')
  if #last == 0 then return 0, 0 end
  return math.max(0, share - used[asked]), tonumber(last[2])
end
local wait, blocked = 0, 0
for number, clause in ipairs(input.clauses) do
  local fits, own = false, nil
  for _, want in ipairs(clause) do
    local w, limit, need = want[1], want[2], want[7]
    if used[w] + need + kept_of(want) <= limit then fits = true end
  end
  if not fits then
    for _, want in ipairs(clause) do
      local never = 4611686018427387904
      local kept, till = kept_of(want)
      local this = wait_for(want[1], used[want[1]] + want[7] - want[2])
      if this < 0 then this = never end
      if kept > 0 then
        local with_share = wait_for(want[1], used[want[1]] + want[7] + kept - want[2])
        if with_share < 0 then with_share = never end
        this = math.min(with_share, math.max(this, till - now))
      end
      if not own or this < own then own = this end
    end
    if own > wait then wait, blocked = own, number - 1 end
  end
end
local leases = {}
if wait == 0 then
  for _, clause in ipairs(input.clauses) do
    for _, want in ipairs(clause) do
      local w, limit, period, grain, lease, need_lease, need, surplus = unpack(want)
      local kept = kept_of(want)
      local amount = need + math.max(0, math.min(surplus, limit - used[w] - need - kept))
      local expires = now + period + (amount > need and lease or need_lease)
      local last = redis.call('HMGET', amounts_of(w), 'last', 'first')
      local id = nil
      if grain > 0 and last[1] and now - tonumber(last[2]) < grain
          and redis.call('HEXISTS', amounts_of(w), last[1]) == 1 then
        id = last[1]
        redis.call('HINCRBY', amounts_of(w), id, text(amount))
        redis.call('ZADD', rows_of(w), 'GT', text(expires), id)
        used[w] = used[w] + amount
        horizon[w] = math.max(horizon[w], expires)
      else
        id = insert(w, expires, amount)
      end
      leases[#leases + 1] = id
      leases[#leases + 1] = text(amount)
    end
  end
end
for w = 1, (#KEYS - 1) / 2 do
  if used[w] ~= 0 or redis.call('EXISTS', amounts_of(w)) == 1 then
    redis.call('HSET', amounts_of(w), 'used', text(used[w]))
  end
  if horizon[w] > 0 then
    local ms = math.ceil((horizon[w] - now) / 1000) + 60000
    for _, key in ipairs({rows_of(w), amounts_of(w)}) do
      if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, text(ms)) end
    end
  end
end
redis.call('HSET', KEYS[1], 'now', text(now), 'wall', text(wall), 'row', text(row), 'epoch', epoch)
return {text(wait), blocked, epoch, leases}
"""


class RedisStore:
    """The shared windows of all that use one Redis. Used on one event loop."""

    forgets = True

    def __init__(self, url: str, password: Secret | None = None, *, prefix: str = PREFIX) -> None:
        """Raises ConfigError where the package redis is not installed."""
        try:
            self._redis: Any = importlib.import_module("redis.asyncio")
        except ImportError:
            raise ConfigError(
                "limits_store: redis needs the package redis: pip install 'aiq[redis]', or use limits_store: file"
            ) from None
        self._url, self._password, self._prefix = url, password, prefix
        self._client: Any = None
        self._script: Any = None

    async def exchange(self, changes: Sequence[Change], clauses: Sequence[Sequence[Want]]) -> Leased:
        """As `LimitStore.exchange`."""
        numbers: dict[str, int] = {}
        wants = [want for clause in clauses for want in clause]
        asked = [want.asked for want in wants if want.share]
        for name in [change.name for change in changes] + [want.name for want in wants] + asked:
            numbers.setdefault(name, len(numbers) + 1)
        payload = orjson.dumps(
            {
                "changes": [(numbers[c.name], str(c.row), c.amount, c.period_us, c.renew_us) for c in changes],
                "clauses": [
                    [(numbers[want.name], *want[1:], numbers.get(want.asked, 0)) for want in clause]
                    for clause in clauses
                ],
            }
        )
        keys = [f"{self._prefix}clock"]
        for name in numbers:
            keys += [f"{self._prefix}rows:{name}", f"{self._prefix}amounts:{name}"]
        try:
            wait, blocked, epoch, leases = await self._run(keys, payload)
        except (self._errors(), OSError, TimeoutError) as error:
            if type(error).__name__ in _REFUSED:  # which does not pass while a caller waits
                raise StoreUnavailable(
                    f"Redis at {self._place()} refuses this user ({type(error).__name__}). Correct "
                    "limits_redis_password in conf/aiq.yml, or what the user may do",
                    passing=False,
                ) from None
            raise StoreUnavailable(
                f"Redis at {self._place()} does not answer ({type(error).__name__}). Start it, or change "
                "limits_redis_url or limits_store in conf/aiq.yml"
            ) from None
        wait_us = min(NEVER, int(wait))
        given = [(int(row), int(amount)) for row, amount in zip(leases[::2], leases[1::2], strict=True)]
        return Leased(None if wait_us else given, wait_us, int(blocked), epoch.decode())

    async def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _run(self, keys: list[str], payload: bytes) -> Any:
        if self._client is None:
            self._client = self._redis.Redis.from_url(
                self._url,
                password=self._password.reveal() if self._password is not None else None,
                socket_timeout=TIMEOUT_S,
                socket_connect_timeout=TIMEOUT_S,
            )
            self._script = self._client.register_script(SCRIPT)
        return await self._script(keys=keys, args=[payload, str(uuid.uuid4())])

    def _errors(self) -> type[Exception]:
        found: type[Exception] = importlib.import_module("redis.exceptions").RedisError
        return found

    def _place(self) -> str:
        return self._url.partition("://")[2].partition("?")[0].rpartition("@")[2]
