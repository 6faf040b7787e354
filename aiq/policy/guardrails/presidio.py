"""presidio-analyzer without a network: its recognizers, and its engine where a spaCy model for names is installed.

The only module that builds presidio's objects. presidio's own default would download a model at first use and a list
of top-level domains at the first e-mail address; here the snapshot that tldextract ships decides.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import spacy
import tldextract
from presidio_analyzer import AnalyzerEngine, EntityRecognizer, RecognizerRegistry
from presidio_analyzer.nlp_engine import NerModelConfiguration, SpacyNlpEngine
from presidio_analyzer.predefined_recognizers import EmailRecognizer
from presidio_analyzer.recognizer_registry import RecognizerRegistryProvider

_UNWANTED = ("Failed to validate text", "Recognizer not added to registry because language")
"""presidio's messages that show a piece of the text, or name recognizers that were not asked for."""
logging.getLogger("presidio-analyzer").addFilter(lambda record: not str(record.msg).startswith(_UNWANTED))


class OfflineEmailRecognizer(EmailRecognizer):
    """presidio's, but for where the list of top-level domains comes from."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._has_domain = domain_check()

    def validate_result(self, pattern_text: str) -> bool:
        return self._has_domain(pattern_text)


def domain_check() -> Callable[[str], bool]:
    """Tells whether an address ends in a domain under a public suffix. Opens no socket and writes no cache."""
    extract = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())
    extract("example.com")  # reads the list, which the first address need not wait for
    return lambda address: bool(extract(address).fqdn)


def registry(languages: Sequence[str]) -> RecognizerRegistry:
    """presidio's predefined recognizers of these languages."""
    built = RecognizerRegistryProvider(
        registry_configuration={"supported_languages": list(languages)}
    ).create_recognizer_registry()
    built.recognizers = [_offline(r) if isinstance(r, EmailRecognizer) else r for r in built.recognizers]
    return built


def _offline(recognizer: EmailRecognizer) -> EmailRecognizer:
    offline = OfflineEmailRecognizer(supported_language=recognizer.supported_language, context=recognizer.context)
    offline.name = recognizer.name  # type: ignore[has-type]
    offline.global_regex_flags = recognizer.global_regex_flags
    return offline


def recognizers(languages: Sequence[str], entities: Sequence[str]) -> list[EntityRecognizer]:
    """Those that find one of the entities; one where several languages share it."""
    found: dict[object, EntityRecognizer] = {}
    for recognizer in registry(languages).recognizers:
        if not set(entities).isdisjoint(recognizer.supported_entities):
            patterns = tuple(p.regex for p in getattr(recognizer, "patterns", ()))
            found.setdefault((type(recognizer), tuple(recognizer.supported_entities), patterns), recognizer)
    return list(found.values())


@functools.cache
def engine_with_model(model: str, language: str) -> AnalyzerEngine:
    """presidio's engine over an installed spaCy model. Raises OSError where it is not installed."""
    engine = _InstalledModel(model, language)
    engine.load()
    with_names = registry([language])
    with_names.add_nlp_recognizer(engine)
    return AnalyzerEngine(registry=with_names, nlp_engine=engine, supported_languages=[language])


class _InstalledModel(SpacyNlpEngine):
    """presidio's engine would download a model that is missing."""

    def __init__(self, model: str, language: str) -> None:
        super().__init__(
            models=[{"lang_code": language, "model_name": model}], ner_model_configuration=NerModelConfiguration()
        )

    def load(self) -> None:
        self.nlp: Any = {model["lang_code"]: spacy.load(model["model_name"]) for model in self.models}
