"""The prompt cache of the simulated providers: which beginnings of prompts a key has sent to a model before.

Knows no vendor. The rule is public (`tokens.cacheable_lengths`), so that tests can compute every bill.
"""

from __future__ import annotations

from hashlib import blake2b

from aiq.simulator.tokens import CACHE_FROM_TOKENS, CACHE_STEP_TOKENS, cacheable_lengths

_KEPT = 200_000
_SHORTEST_BYTES = CACHE_FROM_TOKENS * 4


class PromptCache:
    """Beginnings seen, by their hashes. It forgets everything when it is full."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def reset(self) -> None:
        """Forget everything."""
        self._seen.clear()

    def look_up(self, scope: str, text: str) -> tuple[int, int]:
        """(tokens read, tokens that the cache does not have yet) of a prompt. `scope` names vendor, key and model."""
        if len(text) * 4 < _SHORTEST_BYTES:  # no character has more than four bytes
            return 0, 0
        hashes = _hashes(scope, text)
        known = next((i for i in range(len(hashes), 0, -1) if hashes[i - 1] in self._seen), 0)
        return _tokens(known), _tokens(len(hashes)) - _tokens(known)

    def remember(self, scope: str, text: str) -> None:
        """A prompt was answered: from now on its beginnings are known."""
        if len(text) * 4 >= _SHORTEST_BYTES:
            if len(self._seen) > _KEPT:
                self._seen.clear()
            self._seen.update(_hashes(scope, text))


def _hashes(scope: str, text: str) -> list[bytes]:
    key = blake2b(scope.encode("utf-8", "replace"), digest_size=16).digest()
    data = text.encode("utf-8", "surrogatepass")
    running, done, hashes = blake2b(key=key, digest_size=16), 0, []
    for length in cacheable_lengths(len(data)):
        running.update(data[done:length])
        done = length
        hashes.append(running.digest())
    return hashes


def _tokens(beginnings: int) -> int:
    return 0 if beginnings == 0 else CACHE_FROM_TOKENS + (beginnings - 1) * CACHE_STEP_TOKENS
