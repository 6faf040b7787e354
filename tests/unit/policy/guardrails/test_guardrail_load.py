"""Many texts at once, and texts that were made to be slow to read."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneNumberMatcher

from aiq.config.endpoint import SideGuardrails
from aiq.errors import GuardrailBlocked
from aiq.policy.guardrails import phones
from aiq.policy.guardrails.masking import mask
from aiq.policy.guardrails.pii import Finding, PiiDetector

MASK = SideGuardrails(pii="MASK")
SIZE = 32 * 1024


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes when nothing else is left to do."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def advance(timeout: float | None = None) -> Any:
            self._now += timeout or 0.0
            return select(0)

        self._selector.select = advance  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now


def in_virtual_time(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def taking(seconds: float) -> Callable[[Any], Coroutine[Any, Any, Any]]:
    async def run(function: Any) -> Any:
        await asyncio.sleep(seconds)
        return function()

    return run


def test_the_time_of_a_guard_is_that_of_its_reading_and_not_of_its_queue(world: Any, make_chat: Any) -> None:
    guards = world.guards(MASK, timeout_s=10.0)
    guards._run_off_loop = taking(3.0)

    async def all_at_once() -> list[Any]:
        requests = [make_chat("word " * 1000 + f"a{n}@b.com") for n in range(40)]
        return await asyncio.gather(*map(guards.check_input, requests))

    checked = in_virtual_time(all_at_once())
    assert {each.acted for each in checked} == {("pii:EMAIL_ADDRESS",)}


def test_a_reading_that_is_late_blocks_and_keeps_its_thread_until_it_ends(world: Any, make_chat: Any) -> None:
    guards = world.guards(MASK, timeout_s=10.0)
    guards._run_off_loop = taking(25.0)
    begun: list[float] = []

    async def run(function: Any) -> Any:
        begun.append(asyncio.get_running_loop().time())
        await asyncio.sleep(25.0)
        return function()

    guards._run_off_loop = run

    async def all_at_once() -> list[Any]:
        requests = [make_chat("word " * 1000 + f"a{n}@b.com") for n in range(4)]
        return await asyncio.gather(*map(guards.check_input, requests), return_exceptions=True)

    blocked = in_virtual_time(all_at_once())
    assert all(isinstance(each, GuardrailBlocked) and "within 10 s" in str(each) for each in blocked)
    assert begun == pytest.approx([0.0, 0.0, 25.0, 25.0])


def hostile(kind: str) -> str:
    rng = random.Random(kind)

    def digits(count: int) -> str:
        return "".join(rng.choice("0123456789") for _ in range(count))

    wide = str.maketrans("0123456789-", "０１２３４５６７８９－")
    arabic = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
    piece: Callable[[], str] = {
        "full width": lambda: f"{digits(3)}-".translate(wide),
        "arabic": lambda: f"{digits(10)} ".translate(arabic),
        "extensions": lambda: f"{digits(3)}-{digits(3)}-{digits(4)} ext. {digits(3)} ",
        "parentheses": lambda: f"({digits(3)}) {digits(3)}-{digits(4)} ",
        "x": lambda: f"{digits(7)} x {digits(7)} ",
        "slashes": lambda: f"{digits(5)} / {digits(5)} ",
        "abroad": lambda: f"+{digits(2)} {digits(3)} {digits(7)}\n",
        "addresses": lambda: ".".join(digits(2) for _ in range(4)) + " ",
        "anything": lambda: digits(rng.randint(1, 12)) + rng.choice(" -./()+x,;:#~"),
    }[kind]
    text = ""
    while len(text) < SIZE:
        text += piece()
    return text[:SIZE]


HOSTILE = ["full width", "arabic", "extensions", "parentheses", "x", "slashes", "abroad", "addresses", "anything"]


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_text_full_of_numbers_costs_a_bounded_number_of_parses(
    kind: str, detector: PiiDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    parses: list[str] = []
    parse = PhoneNumberMatcher._parse_and_verify  # type: ignore[attr-defined]

    def counted(matcher: Any, candidate: str, offset: int) -> Any:
        parses.append(candidate)
        return parse(matcher, candidate, offset)

    monkeypatch.setattr(PhoneNumberMatcher, "_parse_and_verify", counted)
    assert any(finding.entity_type == "PHONE_NUMBER" for finding in detector.find(hostile(kind)))
    assert len(parses) <= 2 * SIZE / 12


def test_in_a_crowd_every_number_is_still_taken(
    texts: ModuleType, plain: Any, detector: PiiDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phones, "_WORK_A_CHARACTER", 0)
    monkeypatch.setattr(phones, "_LEAST_WORK", 40)
    missed, exhausted = [], 0
    for seed in range(200):
        text = texts.text(20_000_000 + seed)
        found, expected = spans(detector.find(text)), spans(plain(text))
        exhausted += found != expected
        missed += [(text, number) for number in expected if not is_covered(text, number, found)]
    assert missed == [] and exhausted > 20


def spans(findings: list[Finding]) -> set[tuple[int, int]]:
    return {(f.start, f.end) for f in findings if f.entity_type == "PHONE_NUMBER"}


def is_covered(text: str, number: tuple[int, int], found: set[tuple[int, int]]) -> bool:
    places = {place for start, end in found for place in range(start, end)}
    return all(place in places for place in range(*number) if text[place].isdigit())


def masked_one_by_one(text: str, findings: list[Finding]) -> str:
    """The same by comparing each with each."""
    kept = []
    for position, finding in enumerate(findings):
        others = [(place, other) for place, other in enumerate(findings) if place != position]
        around = [(p, o) for p, o in others if o.start <= finding.start and o.end >= finding.end]
        equal = [(p, o) for p, o in around if (o.start, o.end) == (finding.start, finding.end)]
        if len(around) == len(equal) and all((o.score, p) <= (finding.score, position) for p, o in equal):
            kept.append(finding)
    masked, last = text, len(text)
    for piece in sorted(kept, key=lambda f: (f.start, f.end), reverse=True):
        masked = f"{masked[: piece.start]}<{piece.entity_type}>{masked[min(piece.end, last) :]}"
        last = piece.start
    return masked


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9), st.sampled_from([0.1, 0.5])), max_size=8))
def test_masking_is_the_same_as_comparing_each_with_each(places: list[tuple[int, int, float]]) -> None:
    # Of a type of its own each, so that none are joined.
    text = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrst"
    ordered = sorted({(start, start + size): score for start, size, score in places}.items())
    twice = [(place, score) for place, score in ordered for _ in range(2)]
    findings = [Finding(f"T{n}", *place, score) for n, (place, score) in enumerate(twice)]
    assert mask(text, findings) == masked_one_by_one(text, findings)
