"""Request and token buckets, driven by a clock that the tests turn."""

from __future__ import annotations

import pytest

from aiq.simulator.profile import Quota
from aiq.simulator.quota import QuotaBook, format_reset
from aiq.simulator.refusal import Refusal


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def _headers(lines: bytes) -> dict[str, str]:
    return dict(line.split(": ") for line in lines.decode().splitlines())


def _refusal(book: QuotaBook, key: str = "k", model: str = "m", tokens: int = 0) -> Refusal:
    with pytest.raises(Refusal) as caught:
        book.admit(key, model, tokens)
    return caught.value


def test_the_request_after_the_quota_is_refused() -> None:
    book = QuotaBook((Quota(rpm=3),), Clock())
    for _ in range(3):
        book.admit("k", "m", 0)
    refusal = _refusal(book)
    assert (refusal.status, refusal.code, refusal.kind) == (429, "rate_limit_exceeded", "requests")


def test_the_hint_is_exactly_long_enough() -> None:
    clock = Clock()
    book = QuotaBook((Quota(rpm=7),), clock)
    for _ in range(7):
        book.admit("k", "m", 0)
    hint_ms = int(_headers(_refusal(book).headers)["retry-after-ms"])
    clock.now_s += (hint_ms - 2) / 1000
    _refusal(book)
    clock.now_s += 0.002
    book.admit("k", "m", 0)


def test_retry_after_rounds_up_to_whole_seconds() -> None:
    book = QuotaBook((Quota(rpm=40),), Clock())
    for _ in range(40):
        book.admit("k", "m", 0)
    headers = _headers(_refusal(book).headers)
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1500")


def test_tokens_are_limited_apart_from_requests() -> None:
    book = QuotaBook((Quota(rpm=100, tpm=50),), Clock())
    book.admit("k", "m", 40)
    assert _refusal(book, tokens=20).kind == "tokens"


def test_a_refused_request_takes_nothing() -> None:
    book = QuotaBook((Quota(rpm=2, tpm=50),), Clock())
    book.admit("k", "m", 40)
    _refusal(book, tokens=20)
    assert _headers(book.admit("k", "m", 10))["x-ratelimit-remaining-requests"] == "0"


def test_a_request_that_can_never_fit_gets_no_hint() -> None:
    refusal = _refusal(QuotaBook((Quota(tpm=50),), Clock()), tokens=51)
    assert "retry-after" not in _headers(refusal.headers)


def test_an_admitted_request_is_told_what_remains() -> None:
    book = QuotaBook((Quota(rpm=60, tpm=6000),), Clock())
    assert _headers(book.admit("k", "m", 100)) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "5900",
        "x-ratelimit-reset-tokens": "1s",
    }


def test_each_key_and_each_model_has_its_own_bucket() -> None:
    book = QuotaBook((Quota(rpm=1),), Clock())
    book.admit("k", "m", 0)
    book.admit("other", "m", 0)
    book.admit("k", "other", 0)
    _refusal(book)


def test_a_model_no_quota_names_is_not_limited() -> None:
    book = QuotaBook((Quota(rpm=1, models=("gpt-*",)),), Clock())
    assert [book.admit("k", "other", 0) for _ in range(3)] == [b"", b"", b""]


def test_a_reset_fills_the_buckets() -> None:
    book = QuotaBook((Quota(rpm=1),), Clock())
    book.admit("k", "m", 0)
    book.reset()
    book.admit("k", "m", 0)


@pytest.mark.parametrize(("seconds", "text"), [(0.12, "120ms"), (1, "1s"), (2.5, "2.5s"), (360, "6m0s"), (0, "0ms")])
def test_a_reset_is_written_as_the_vendor_writes_it(seconds: float, text: str) -> None:
    assert format_reset(seconds) == text
