"""What looking for personal data costs, beside presidio-analyzer with a blank spaCy pipeline and the same entities.

    python tests/benchmarks/guardrails.py [--texts N] [--rounds N] [--compare N]

Every kind of text comes in N distinct texts of about 300 characters, because a text that comes twice is cheaper. Times
are CPU microseconds a text, the best of the rounds; both sides run in turn in one thread. The bars: 30 us without
hits, and a tenth of presidio's time with hits. `--compare N` also compares the findings in N generated texts, and in
as many that people wrote.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))
sys.path.insert(0, str(HERE.parent / "unit" / "policy" / "guardrails"))
BAR_US, BAR_SHARE = 30.0, 0.10
SENTENCES = (
    "The delivery arrived late and the box was damaged.",
    "Support answered quickly and sent a new one.",
    "I would buy it again, although the manual is hard to read.",
    "The battery lasts only a day in cold weather.",
    "My sister has the older model and likes it, too.",
    "It is smaller than in the picture, which I did not expect.",
    "After two weeks the handle broke; they repaired it for free.",
    "Nobody told me that the charger is sold separately.",
    "For the price there is nothing better on the market.",
)
NUMBERED = (
    "I ordered {a} of them in {year}, {b} came.",
    "Between {year} and 2024 I paid ${a}.{b} twice.",
    "It weighs {a}.{b} kg and takes {b} minutes.",
    "At {b}:30 on {a}/{b}/{year} the courier rang.",
    "Version {a}.{b} is {b}% faster.",
    "From {year}-2024 we sold {a},{b}00 pieces.",
)


def prose(rng: random.Random, length: int = 300) -> str:
    text = ""
    while len(text) < length:
        text += rng.choice(SENTENCES) + " "
    return text[:length]


def numbered(rng: random.Random) -> str:
    text = ""
    while len(text) < 300:
        sentence = rng.choice((*SENTENCES, *NUMBERED))
        text += sentence.format(a=rng.randint(1, 12), b=rng.randint(10, 28), year=rng.randint(1990, 2023)) + " "
    return text[:300].rsplit(" ", 1)[0]


def kinds() -> dict[str, Callable[[random.Random], str]]:
    """A text of each kind; those with a hit end in it."""
    import pii_texts

    def north_american(rng: random.Random) -> str:
        return f"({rng.choice(['212', '425', '415'])}) {rng.randint(200, 999)}-{rng.randint(1000, 9999)}"

    def with_hit(hit: Callable[[random.Random], str]) -> Callable[[random.Random], str]:
        return lambda rng: f"{prose(rng, 270)} {hit(rng)}"

    def three(rng: random.Random) -> str:
        return f"{north_american(rng)}, jane{rng.randint(1, 999)}@example.com, {grouped_card(rng)}"

    def grouped_card(rng: random.Random) -> str:
        return pii_texts.grouped(rng, pii_texts.card(rng), "")

    return {
        "prose, no hit": prose,
        "prose with numbers, no hit": numbered,
        "e-mail": with_hit(lambda rng: f"jane{rng.randint(1, 9999)}@example.co.uk"),
        "phone": with_hit(north_american),
        "phone with +": with_hit(lambda rng: f"+49 30 {rng.randint(200000, 999999)}"),
        "card": with_hit(grouped_card),
        "SSN": with_hit(lambda rng: f"{rng.randint(100, 665)}-{rng.randint(10, 99)}-{rng.randint(1000, 9999)}"),
        "bank account": with_hit(lambda rng: pii_texts.digits(rng, 11)),
        "IBAN": with_hit(pii_texts.iban),
        "IP address": with_hit(lambda rng: ".".join(str(rng.randint(1, 254)) for _ in range(4))),
        "e-mail, phone and card": with_hit(three),
    }


def plain_presidio() -> Callable[[str], list[Any]]:
    import spacy
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    from aiq.config.endpoint import PII_ENTITIES
    from aiq.policy.guardrails.pii import Finding
    from aiq.policy.guardrails.presidio import registry

    nlp = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "blank"}])
    nlp.nlp = {"en": spacy.blank("en")}
    engine = AnalyzerEngine(registry=registry(["en"]), nlp_engine=nlp, supported_languages=["en"])
    entities = list(PII_ENTITIES)
    return lambda text: [
        Finding(r.entity_type, r.start, r.end, r.score) for r in engine.analyze(text, "en", entities=entities)
    ]


def microseconds(work: Callable[[str], object], texts: Sequence[str]) -> float:
    start = time.thread_time()
    for text in texts:
        work(text)
    return (time.thread_time() - start) / len(texts) * 1e6


def guard_microseconds(texts: Sequence[str]) -> float:
    """The whole check of a request on the event loop, with personal data and five keywords."""
    from aiq.config.endpoint import Guardrails, SideGuardrails
    from aiq.policy.guardrails.guards import Guards
    from aiq.request import Answer, Caller, Request, Task

    async def ask(request: Request, endpoint: str, task: Task, body: dict[str, Any]) -> Answer:
        raise AssertionError

    side = SideGuardrails(pii="MASK", invalid_keywords=("atlas", "project x", "secret", "merger", "layoff"))
    guards = Guards(Guardrails(input=side), ask, {})
    guards.prepare()
    requests = [
        Request("chat", "llm/v1/chat", {"messages": [{"role": "user", "content": text}]}, Caller("ann"), "s")
        for text in texts
    ]

    async def check() -> float:
        start = time.thread_time()
        for request in requests:
            await guards.check_input(request)
        return (time.thread_time() - start) / len(requests) * 1e6

    return asyncio.run(check())


def compare(count: int, plain: Callable[[str], list[Any]], find: Callable[[str], list[Any]]) -> None:
    import pii_texts

    makers = list(kinds().values())
    different = hits = 0
    for seed in range(count):
        text = makers[seed % len(makers)](random.Random(seed)) if seed % 5 == 0 else pii_texts.text(seed)
        expected = plain(text)
        hits += bool(expected)
        if find(text) != expected:
            different += 1
            print(f"different: {text!r}")
    print(f"\nfindings compared in {count:,} texts, {hits:,} of them with hits: {different} different")
    written = different = hits = 0
    for text in real_texts(count):
        expected = plain(text)
        written += 1
        hits += bool(expected)
        different += find(text) != expected
    print(f"and in {written:,} paragraphs that people wrote, {hits:,} of them with hits: {different} different")


def real_texts(most: int) -> list[str]:
    """Paragraphs of what the authors of the installed packages wrote of them: descriptions, changes, licences."""
    found: dict[str, None] = {}
    for package in sorted(distributions(), key=lambda each: each.name):
        texts = [package.read_text("METADATA") or ""]
        for file in package.files or ():
            if file.suffix in (".txt", ".md", ".rst") or "LICENSE" in file.name or "AUTHORS" in file.name:
                with suppress(OSError, UnicodeDecodeError):
                    texts.append(Path(str(file.locate())).read_text(encoding="utf-8"))
        paragraphs = (part.strip() for text in texts for part in text.split("\n\n"))
        found.update(dict.fromkeys(part for part in paragraphs if 40 <= len(part) <= 2000))
    return random.Random(1).sample(list(found), min(most, len(found)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compare", type=int, default=0)
    args = parser.parse_args()

    from aiq.config.endpoint import PII_ENTITIES
    from aiq.policy.guardrails.pii import PiiDetector

    detector, plain = PiiDetector(PII_ENTITIES), plain_presidio()
    detector.prepare()
    print(f"{'CPU us a text':28} {'presidio':>9} {'aiq':>7} {'share':>7}  hits")
    for position, (name, make) in enumerate(kinds().items()):
        theirs = ours = float("inf")
        for turn in range(args.rounds + 1):
            rng = random.Random(1000 * position + turn)
            texts = [make(rng) for _ in range(args.texts)]
            one, other = microseconds(plain, texts), microseconds(detector.find, texts)
            if turn:  # the first round only warms up
                theirs, ours = min(theirs, one), min(ours, other)
        hits = sum(bool(detector.find(text)) for text in texts) / len(texts)
        met = ours <= BAR_US if "no hit" in name else ours <= BAR_SHARE * theirs
        print(
            f"{name:28} {theirs:9.0f} {ours:7.1f} {ours / theirs:7.1%}  {hits:4.0%}  {'' if met else 'above the bar'}"
        )
    clean = [prose(random.Random(seed)) for seed in range(args.texts * 5)]
    guard_microseconds(clean)
    checked = min(guard_microseconds(clean) for _ in range(args.rounds))
    print(f"\na whole check_input of clean prose, with five keywords: {checked:.1f} us (bar: 50)")
    if args.compare:
        compare(args.compare, plain, detector.find)


if __name__ == "__main__":
    main()
