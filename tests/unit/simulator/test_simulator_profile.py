"""What a profile file may say, and how its mistakes are told."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from aiq.errors import ConfigError
from aiq.simulator.exchange import VendorCall
from aiq.simulator.profile import FaultRate, Latency, Profile, Quota, TokenPrice, profile_file
from aiq.simulator.provider import Provider

FULL = """
port: 9001
seed: 7
latency: {median_ms: 300, sigma: 0.4, per_token_ms: 2, cold_start_ms: 5, slow_above: 9}
quotas:
  - {rpm: 60, models: [gpt-4o*]}
  - tpm: 1000
  - {itpm: 100, otpm: 50, qph: 10, rpd: 7}
faults:
  - {kind: '503', rate: 0.05, models: [gpt-4o-mini]}
prices:
  gpt-4o-mini: {input_per_mtok: 0.15, output_per_mtok: 0.6, cached_input_per_mtok: 0.075}
  long:
    input_per_mtok: 1
    output_per_mtok: 2
    tiers: [{above_input_tokens: 200000, input_per_mtok: 2, output_per_mtok: 3}]
keys: [sk-one]
label: false
"""


def _load(folder: Path, text: str) -> Profile:
    file = folder / "profile.yml"
    file.write_text(text)
    return Profile.load(file)


def test_a_profile_file_is_read_whole(tmp_path: Path) -> None:
    assert _load(tmp_path, FULL) == Profile(
        port=9001,
        seed=7,
        latency=Latency(median_ms=300, sigma=0.4, per_token_ms=2, cold_start_ms=5, slow_above=9),
        quotas=(Quota(rpm=60, models=("gpt-4o*",)), Quota(tpm=1000), Quota(itpm=100, otpm=50, qph=10, rpd=7)),
        faults=(FaultRate("503", 0.05, ("gpt-4o-mini",)),),
        prices=(
            ("gpt-4o-mini", TokenPrice(0.15, 0.6, 0.075)),
            ("long", TokenPrice(1, 2, tiers=(TokenPrice(2, 3, above_input_tokens=200_000),))),
        ),
        keys=("sk-one",),
        label=False,
    )


def test_an_empty_file_is_the_default_profile(tmp_path: Path) -> None:
    assert _load(tmp_path, "") == Profile()


def test_a_profile_survives_the_way_to_a_child_process(tmp_path: Path) -> None:
    profile = _load(tmp_path, FULL)
    assert Profile.from_dict(profile.to_dict()) == profile


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ("port: 9001\nprot: 1\n", 2, "prot"),
        ("port: nine\n", 1, "port"),
        ("latency:\n  fixed_ms: 1\n  median: 2\n", 3, "latency.median"),
        ("latency: {fixed_ms: 1, median_ms: 2}\n", 1, "latency"),
        ("quotas:\n  - rpm: 5\n  - rpm: 0\n", 3, "quotas[1].rpm"),
        ("quotas:\n  - models: [a]\n", 2, "quotas[0].rpm"),
        ("faults:\n  - kind: nonsense\n", 2, "faults[0].kind"),
        ("faults:\n  - {kind: '503', rate: 2}\n", 2, "faults[0].rate"),
        ("label: maybe\n", 1, "label"),
        ("keys: sk-one\n", 1, "keys"),
        ("prices:\n  a: {input: 1}\n", 2, "prices.a.input"),
    ],
)
def test_a_mistake_names_line_and_field(tmp_path: Path, text: str, line: int, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    assert (caught.value.line, caught.value.field) == (line, field)


def test_broken_yaml_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, "port: 1\nlatency: {fixed_ms: 1\n")
    assert caught.value.line is not None


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Profile.load(tmp_path / "nowhere.yml")


def test_the_profile_of_a_bad_day_is_found_by_its_name_and_mostly_answers() -> None:
    provider = Provider(
        Profile.load(profile_file(Path("chaos.yml"))), clock=lambda: 1.7e9, ticks=itertools.count().__next__
    )
    for row in range(1000):
        body = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Row %d"}]}' % row
        reply = provider.handle(
            VendorCall(b"POST", b"/v1/chat/completions", {b"authorization": b"Bearer sk-12345678"}, body)
        )
        provider.finish(reply, reply.status)
    kinds = {entry["fault"] for entry in provider.records.attempts()}
    assert 850 < provider.records.stats()["ok"] < 980
    assert {"429-retry-after", "503", "reset", "cut"} < kinds


def test_a_file_of_ones_own_comes_before_the_one_that_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chaos.yml").write_text("seed: 5\n")
    assert Profile.load(profile_file(Path("chaos.yml"))).seed == 5


def test_half_of_the_lognormal_prompts_wait_longer_than_the_median() -> None:
    latency = Latency(median_ms=300, sigma=0.5)
    assert latency.first_s(0.25) < 0.3 < latency.first_s(0.75)
