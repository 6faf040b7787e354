"""Personal data in a text: exactly what presidio-analyzer finds with a blank spaCy pipeline, in a fraction of its time.

A blank pipeline has no lemmas, so presidio's context words never change a score there; a score depends on the match
alone, and no text is tokenised here. Nothing is downloaded, ever. Knows texts, no requests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from aiq.policy.guardrails.gates import Gates


class Finding(NamedTuple):
    """A piece of personal data: characters `start` to `end` of the text, `score` from 0 to 1."""

    entity_type: str
    start: int
    end: int
    score: float


Scan = Callable[[str, int], list[Finding]]
"""Everything one recognizer finds in a text before whose given index no digit stands."""


class PiiDetector:
    """Finds the `entities` of `languages` whose score is at least `threshold`. Safe to share between threads."""

    def __init__(
        self,
        entities: Sequence[str],
        languages: Sequence[str] = ("en",),
        threshold: float = 0.0,
        ner_model: str | None = None,
    ) -> None:
        """`ner_model` is an installed spaCy model, for names; every text is then read by it.

        Cheap: presidio is imported by `prepare`, or by the first text that needs it.
        """
        self._entities, self._languages, self._threshold = tuple(entities), tuple(languages), threshold
        self._ner_model = ner_model
        self._gates = Gates(entities)
        self._scans: list[tuple[frozenset[str], Scan]] | None = None
        self._loading = threading.Lock()

    @property
    def inline(self) -> bool:
        """True when `find` is quick: everything is loaded, and no model reads the text."""
        return self._scans is not None and self._ner_model is None

    def prepare(self) -> None:
        """Loads presidio's recognizers, which takes seconds. Any thread but the event loop's."""
        with self._loading:
            if self._scans is None:
                # presidio takes seconds to import, and most texts never need it.
                from aiq.policy.guardrails.scans import model_scan, pattern_scans

                if self._ner_model is None:
                    self._scans = pattern_scans(self._languages, self._entities)
                else:
                    self._scans = model_scan(self._ner_model, self._languages[0], self._entities)

    def may_hold(self, text: str) -> bool:
        """False where the text certainly holds nothing: a few microseconds, without presidio."""
        return self._ner_model is not None or bool(self._gates.suspects(text)[0])

    def find(self, text: str) -> list[Finding]:
        """All findings, the surest first: those of presidio's `AnalyzerEngine.analyze`, in its order.

        With several languages, those of each one without duplicates.
        """
        suspects, begin = self._gates.suspects(text) if self._ner_model is None else (frozenset(self._entities), 0)
        if not suspects:
            return []
        if self._scans is None:
            self.prepare()
        found: list[Finding] = []
        for entities, scan in self._scans or ():
            if not suspects.isdisjoint(entities):
                found += scan(text, begin)
        return without_duplicates(f for f in found if f.score >= self._threshold)


def without_duplicates(findings: Iterable[Finding]) -> list[Finding]:
    """Drops findings inside others of the same type that are as sure; in the order of presidio's results.

    Source: presidio's `EntityRecognizer.remove_duplicates`.
    """
    unique = set(findings)
    if len(unique) > 1:
        kept: list[Finding] = []
        by_type = sorted(unique, key=lambda f: (f.entity_type, f.start, f.start - f.end, -f.score))
        for _, same in groupby(by_type, key=lambda f: f.entity_type):
            active: list[Finding] = []
            for finding in same:
                active = [other for other in active if other.end >= finding.start]
                if not any(finding.end <= o.end and finding.score <= o.score for o in active):
                    kept.append(finding)
                    active.append(finding)
        return sorted(kept, key=lambda f: (-f.score, f.start, f.start - f.end))
    return list(unique)
