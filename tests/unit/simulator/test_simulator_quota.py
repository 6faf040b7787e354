"""Request and token buckets, driven by a clock that the tests turn."""

from __future__ import annotations

import pytest

from aiq.simulator.exchange import VendorRequest
from aiq.simulator.limits import TokenBuckets
from aiq.simulator.profile import Quota
from aiq.simulator.quota import QuotaBook, format_reset
from aiq.simulator.refusal import OverQuota


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def _headers(lines: bytes) -> dict[str, str]:
    return dict(line.split(": ") for line in lines.decode().splitlines())


class Book(QuotaBook):
    """Quotas counted in OpenAI's way."""

    def __init__(self, quotas: tuple[Quota, ...], clock: Clock) -> None:
        super().__init__(quotas, clock, clock)

    def ask(self, key: str, model: str, tokens: int) -> bytes:
        """Admit a request that reserves so many tokens."""
        return self.admit(self.of(TokenBuckets, key, model), VendorRequest("chat", model, {}, reserve=tokens))


def _refusal(book: Book, key: str = "k", model: str = "m", tokens: int = 0) -> OverQuota:
    with pytest.raises(OverQuota) as caught:
        book.ask(key, model, tokens)
    return caught.value


def test_the_request_after_the_quota_is_refused() -> None:
    book = Book((Quota(rpm=3),), Clock())
    for _ in range(3):
        book.ask("k", "m", 0)
    refusal = _refusal(book)
    assert (refusal.status, refusal.code, refusal.kind) == (429, "rate_limit_exceeded", "requests")


def test_the_hint_is_exactly_long_enough() -> None:
    clock = Clock()
    book = Book((Quota(rpm=7),), clock)
    for _ in range(7):
        book.ask("k", "m", 0)
    hint_ms = int(_headers(_refusal(book).headers)["retry-after-ms"])
    clock.now_s += (hint_ms - 2) / 1000
    _refusal(book)
    clock.now_s += 0.002
    book.ask("k", "m", 0)


def test_retry_after_rounds_up_to_whole_seconds() -> None:
    book = Book((Quota(rpm=40),), Clock())
    for _ in range(40):
        book.ask("k", "m", 0)
    headers = _headers(_refusal(book).headers)
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1500")


def test_tokens_are_limited_apart_from_requests() -> None:
    book = Book((Quota(rpm=100, tpm=50),), Clock())
    book.ask("k", "m", 40)
    assert _refusal(book, tokens=20).kind == "tokens"


def test_a_refused_request_takes_nothing() -> None:
    book = Book((Quota(rpm=2, tpm=50),), Clock())
    book.ask("k", "m", 40)
    _refusal(book, tokens=20)
    assert _headers(book.ask("k", "m", 10))["x-ratelimit-remaining-requests"] == "0"


def test_a_request_that_can_never_fit_gets_no_hint() -> None:
    refusal = _refusal(Book((Quota(tpm=50),), Clock()), tokens=51)
    assert "retry-after" not in _headers(refusal.headers)


def test_an_admitted_request_is_told_what_remains() -> None:
    book = Book((Quota(rpm=60, tpm=6000),), Clock())
    assert _headers(book.ask("k", "m", 100)) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "5900",
        "x-ratelimit-reset-tokens": "1s",
    }


def test_each_key_and_each_model_has_its_own_bucket() -> None:
    book = Book((Quota(rpm=1),), Clock())
    book.ask("k", "m", 0)
    book.ask("other", "m", 0)
    book.ask("k", "other", 0)
    _refusal(book)


def test_a_model_no_quota_names_is_not_limited() -> None:
    book = Book((Quota(rpm=1, models=("gpt-*",)),), Clock())
    assert [book.ask("k", "other", 0) for _ in range(3)] == [b"", b"", b""]


def test_a_reset_fills_the_buckets() -> None:
    book = Book((Quota(rpm=1),), Clock())
    book.ask("k", "m", 0)
    book.reset()
    book.ask("k", "m", 0)


@pytest.mark.parametrize(("seconds", "text"), [(0.12, "120ms"), (1, "1s"), (2.5, "2.5s"), (360, "6m0s"), (0, "0ms")])
def test_a_reset_is_written_as_the_vendor_writes_it(seconds: float, text: str) -> None:
    assert format_reset(seconds) == text
