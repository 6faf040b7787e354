"""How each vendor counts against a quota, and what it tells of it; the clock is turned by the tests."""

from __future__ import annotations

import pytest

from aiq.simulator.exchange import Counts, VendorRequest
from aiq.simulator.limits import MinuteAndDay, Reserving, RollingMinute, Slices, ThreeBuckets, burndown
from aiq.simulator.profile import Quota
from aiq.simulator.quota import Limits
from aiq.simulator.refusal import OverQuota

EPOCH_S = 1_700_000_000.0


def _asked(prompt: int = 10, reserve: int | None = None, cached: int = 0, model: str = "m") -> VendorRequest:
    reserved = prompt if reserve is None else reserve
    return VendorRequest("chat", model, {}, prompt_tokens=prompt, reserve=reserved, cached_tokens=cached)


def _admit(limits: Limits, asked: VendorRequest, now_s: float = 0.0) -> dict[str, str]:
    lines = limits.admit(asked, now_s, EPOCH_S + now_s).decode()
    return dict(line.split(": ", 1) for line in lines.splitlines())


def _refused(limits: Limits, asked: VendorRequest, now_s: float = 0.0) -> OverQuota:
    with pytest.raises(OverQuota) as caught:
        limits.admit(asked, now_s, EPOCH_S + now_s)
    return caught.value


def _headers(refusal: OverQuota) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in refusal.headers.decode().splitlines())


def test_azure_refuses_a_burst_that_fits_the_minute_its_headers_tell_of() -> None:
    limits = Slices(Quota(rpm=30), 0.0)
    told = [_admit(limits, _asked()) for _ in range(5)][-1]
    assert (told["x-ratelimit-limit-requests"], told["x-ratelimit-remaining-requests"]) == ("30", "25")
    refusal = _refused(limits, _asked(), 4.0)
    assert (refusal.retry_s, _headers(refusal)["retry-after-ms"]) == (6.0, "6000")
    _admit(limits, _asked(), 10.0)


def test_azure_takes_the_slices_of_a_large_quota_by_the_second() -> None:
    limits = Slices(Quota(rpm=120), 0.0)
    _admit(limits, _asked()), _admit(limits, _asked())
    assert _refused(limits, _asked(), 0.5).retry_s == 0.5
    _admit(limits, _asked(), 1.0)


def test_azure_keeps_what_was_reserved_until_the_minute_is_over() -> None:
    limits, asked = Slices(Quota(tpm=100), 0.0), _asked(10, reserve=60)
    _admit(limits, asked)
    limits.settle(asked, Counts(10, 1), 1.0)
    assert _refused(limits, _asked(10, reserve=60), 59.0).details["used"] == 60
    _admit(limits, _asked(10, reserve=60), 60.0)


def test_anthropic_counts_requests_input_and_output_apart() -> None:
    limits = ThreeBuckets(Quota(rpm=60, itpm=60_000, otpm=6_000), 0.0)
    told = _admit(limits, _asked(20_000))
    assert told["anthropic-ratelimit-requests-remaining"] == "59"
    assert told["anthropic-ratelimit-input-tokens-remaining"] == "40000"
    assert told["anthropic-ratelimit-tokens-limit"] == "60000"
    assert told["anthropic-ratelimit-input-tokens-reset"] == "2023-11-14T22:13:40Z"
    assert _refused(limits, _asked(40_001)).details["unit"] == "input"


def test_anthropic_reads_from_the_cache_for_nothing() -> None:
    limits = ThreeBuckets(Quota(itpm=1000), 0.0)
    for _ in range(3):
        _admit(limits, _asked(1500, cached=1280))
    assert _refused(limits, _asked(1500, cached=1024)).retry_s == pytest.approx((476 - 340) * 60 / 1000)


def test_anthropic_takes_output_when_it_is_known_and_goes_into_debt() -> None:
    limits, asked = ThreeBuckets(Quota(otpm=600), 0.0), _asked(10, reserve=5000)
    _admit(limits, asked)
    limits.settle(asked, Counts(10, 700), 0.0)
    refusal = _refused(limits, _asked())
    assert (refusal.details["unit"], _headers(refusal)["retry-after"]) == ("output", "11")
    _admit(limits, _asked(), 10.2)


def test_anthropic_rounds_remaining_tokens_to_thousands() -> None:
    told = _admit(ThreeBuckets(Quota(itpm=10_000), 0.0), _asked(1_600))
    assert told["anthropic-ratelimit-input-tokens-remaining"] == "8000"


def test_bedrock_reserves_the_longest_answer_and_gives_back_what_was_not_said() -> None:
    limits, asked = Reserving(Quota(tpm=1000), 0.0), _asked(100, reserve=900)
    assert _admit(limits, asked) == {}
    assert _refused(limits, _asked(100, reserve=900)).headers == b""
    limits.settle(asked, Counts(100, 20), 0.0)
    _admit(limits, _asked(100, reserve=880))


def test_bedrock_gives_everything_back_when_there_was_no_answer() -> None:
    limits, asked = Reserving(Quota(tpm=1000), 0.0), _asked(100, reserve=1000)
    _admit(limits, asked)
    limits.settle(asked, None, 0.0)
    _admit(limits, _asked(100, reserve=1000))


@pytest.mark.parametrize(
    ("model", "rate"),
    [
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", 1),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", 5),
        ("anthropic.claude-opus-4-20250514-v1:0", 5),
        ("amazon.nova-lite-v1:0", 1),
    ],
)
def test_an_output_token_of_later_claude_models_burns_five_of_bedrocks_quota(model: str, rate: int) -> None:
    assert burndown(model) == rate


def test_gemini_counts_input_and_the_day_and_says_when_to_come_back_only_in_its_body() -> None:
    limits = MinuteAndDay(Quota(tpm=60, rpd=2), 0.0)
    assert _admit(limits, _asked(50, reserve=9000)) == {}
    refusal = _refused(limits, _asked(40))
    assert (refusal.headers, refusal.retry_s, refusal.details["unit"]) == (b"", 30.0, "input")
    _admit(limits, _asked(40), 60.0)
    assert _refused(limits, _asked(1), 120.0).details["unit"] == "day"


def test_databricks_minute_rolls() -> None:
    limits = RollingMinute(Quota(rpm=2), 0.0)
    _admit(limits, _asked(), 0.0), _admit(limits, _asked(), 30.0)
    assert _refused(limits, _asked(), 59.0).retry_s == 1.0
    _admit(limits, _asked(), 60.0)
    assert _refused(limits, _asked(), 61.0).retry_s == 29.0


def test_databricks_credits_reserved_output_that_was_not_used() -> None:
    limits, asked = RollingMinute(Quota(otpm=100), 0.0), _asked(10, reserve=90)
    _admit(limits, asked)
    assert _refused(limits, _asked(10, reserve=90)).details == {"unit": "output", "limit": 100, "used": 80, "asked": 80}
    limits.settle(asked, Counts(10, 20), 1.0)
    _admit(limits, _asked(10, reserve=90), 2.0)


def test_databricks_counts_requests_by_the_hour_too() -> None:
    limits = RollingMinute(Quota(qph=2), 0.0)
    _admit(limits, _asked(), 0.0), _admit(limits, _asked(), 1000.0)
    assert _refused(limits, _asked(), 2000.0).retry_s == 1600.0
    _admit(limits, _asked(), 3600.0)


@pytest.mark.parametrize("kind", [Slices, ThreeBuckets, Reserving, MinuteAndDay, RollingMinute])
def test_the_time_to_wait_is_exactly_long_enough(kind: type[Limits]) -> None:
    limits, now_s = kind(Quota(rpm=7, tpm=700), 0.0), 0.0
    while True:
        try:
            limits.admit(_asked(1), now_s, EPOCH_S)
        except OverQuota as refusal:
            wait_s = refusal.retry_s
            break
    assert wait_s is not None
    _refused(limits, _asked(1), now_s + wait_s - 0.002)
    _admit(limits, _asked(1), now_s + wait_s + 0.001)


@pytest.mark.parametrize("kind", [Slices, ThreeBuckets, Reserving, MinuteAndDay, RollingMinute])
def test_a_request_that_can_never_fit_is_not_told_to_wait(kind: type[Limits]) -> None:
    assert _refused(kind(Quota(tpm=50), 0.0), _asked(51)).retry_s is None
