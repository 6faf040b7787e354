"""`ai_gateway.guardrails` and `ai_gateway.aiq.guardrails`: what is read, and what is refused before the first row."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aiq.config.document import read_documents
from aiq.config.endpoint import PII_ENTITIES, Endpoint, Guardrails, SideGuardrails
from aiq.config.gateway_policy import read_gateway
from aiq.config.guardrails import _MODELS, _NAMES, ENTITIES, check_guard_endpoints
from aiq.errors import ConfigError
from aiq.request import Task

Read = Callable[..., Guardrails | None]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """`read(guardrails, own)` reads both sections, given as YAML flow text."""

    def read_text(guardrails: str | None, own: str | None = None) -> Guardrails | None:
        lines = [f"guardrails: {guardrails}"] if guardrails is not None else []
        lines += [f"aiq: {{guardrails: {own}}}"] if own is not None else []
        file = tmp_path / "gateway.yml"
        file.write_text("\n".join(lines), encoding="utf-8")
        return read_gateway(read_documents(str(file))[0], "chat").guardrails

    return read_text


def endpoint(name: str, *asked: str, task: Task = "llm/v1/chat", **settings: Any) -> Endpoint:
    guardrails = Guardrails(input=SideGuardrails(custom=asked), **settings) if asked or settings else None
    return Endpoint(name, name, task, (), "f", guardrails=guardrails, file="chat.yml", line=3)


def check(*endpoints: Endpoint) -> None:
    check_guard_endpoints({each.name: each for each in endpoints})


@pytest.mark.parametrize("text", ["{}", "{input: {}}", "{input: {pii: {behavior: NONE}}, output: {safety: false}}"])
def test_guardrails_that_are_off_are_none(read: Read, text: str) -> None:
    assert read(text) is None


def test_settings_without_a_filter_are_none(read: Read) -> None:
    assert read(None, "{timeout_s: 3}") is None


def test_filters_are_read_in_databricks_shape(read: Read) -> None:
    found = read("{input: {pii: {behavior: MASK}, invalid_keywords: [a, b]}, output: {pii: {behavior: BLOCK}}}")
    assert found is not None
    assert found.input == SideGuardrails(pii="MASK", invalid_keywords=("a", "b"))
    assert found.output == SideGuardrails(pii="BLOCK")


def test_defaults_are_presidios_and_fail_closed(read: Read) -> None:
    found = read("{input: {pii: {behavior: MASK}}}")
    assert found is not None
    assert (found.entities, found.languages, found.score_threshold) == (PII_ENTITIES, ("en",), 0.0)
    assert (found.on_error, found.timeout_s, found.log_blocked) == ("block", 10.0, False)


@pytest.mark.parametrize("module", ["presidio_analyzer", "spacy", "phonenumbers"])
def test_what_finds_personal_data_has_to_be_installed(read: Read, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as where it is not
    with pytest.raises(ConfigError, match=r"pii\.behavior: needs the package .*: pip install 'aiq\[guardrails\]'"):
        read("{input: {pii: {behavior: MASK}}}")
    assert read("{input: {pii: {behavior: NONE}, invalid_keywords: [a]}}") is not None


def test_our_own_settings_are_read(read: Read) -> None:
    found = read(
        "{input: {safety: true, valid_topics: [food]}}",
        "{entities: [EMAIL_ADDRESS, ES_NIF], languages: [es, en], score_threshold: 0.4, timeout_s: 2, on_error: allow, "
        "log_blocked: true, safety: {endpoint: lg, format: moderation, categories: [hate]}, topics: {endpoint: judge}, "
        "custom: [{endpoint: a}, {endpoint: b, side: output}, {endpoint: c, side: input}]}",
    )
    assert found == Guardrails(
        input=SideGuardrails(safety=True, valid_topics=("food",), custom=("a", "c")),
        output=SideGuardrails(custom=("a", "b")),
        entities=("EMAIL_ADDRESS", "ES_NIF"),
        languages=("es", "en"),
        score_threshold=0.4,
        timeout_s=2.0,
        on_error="allow",
        log_blocked=True,
        safety_endpoint="lg",
        safety_format="moderation",
        safety_categories=("hate",),
        topics_endpoint="judge",
    )


def test_a_custom_guardrail_alone_is_a_guardrail(read: Read) -> None:
    found = read(None, "{custom: [{endpoint: a}]}")
    assert found is not None and found.endpoints() == ("a",)


def test_entities_of_other_languages_are_left_out_by_default(read: Read) -> None:
    found = read("{input: {pii: {behavior: MASK}}}", "{languages: [de]}")
    assert found is not None and found.entities == ("EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "PHONE_NUMBER")


@pytest.mark.parametrize(
    ("guardrails", "own", "field", "words"),
    [
        ("{input: {safety: true}}", None, "guardrails.input.safety", "aiq.guardrails.safety.endpoint"),
        ("{output: {valid_topics: [a]}}", None, "guardrails.output.valid_topics", "aiq.guardrails.topics.endpoint"),
        ("{input: {pii: {behavior: HIDE}}}", None, "guardrails.input.pii.behavior", "NONE, BLOCK, MASK"),
        ("{input: {keywords: [a]}}", None, "guardrails.input.keywords", "unknown field"),
        ("{input: {invalid_keywords: ['  ']}}", None, "guardrails.input.invalid_keywords[0]", "blank"),
        (None, "{entity: [A]}", "aiq.guardrails.entity", "Did you mean 'entities'"),
        (None, "{entities: [EMAIL_ADRESS]}", "aiq.guardrails.entities[0]", "Did you mean 'EMAIL_ADDRESS'"),
        (None, "{entities: []}", "aiq.guardrails.entities", "at least one"),
        (None, "{entities: [ES_NIF]}", "aiq.guardrails.entities[0]", "language es only"),
        (None, "{languages: [english]}", "aiq.guardrails.languages[0]", "such as en"),
        (None, "{score_threshold: 2}", "aiq.guardrails.score_threshold", "from 0 to 1"),
        (None, "{timeout_s: 0}", "aiq.guardrails.timeout_s", "seconds"),
        (None, "{on_error: pass}", "aiq.guardrails.on_error", "block, allow"),
        (None, "{ner_model: no_such_model}", "aiq.guardrails.ner_model", "not installed"),
        (None, "{custom: [{side: input}]}", "aiq.guardrails.custom[0].endpoint", "is required"),
    ],
)
def test_what_is_wrong_names_its_field(
    read: Read, guardrails: str | None, own: str | None, field: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(guardrails, own)
    assert caught.value.field == field and words in caught.value.reason and caught.value.line is not None


def test_names_without_a_model_say_what_to_install(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in _MODELS else name)
    with pytest.raises(ConfigError, match="spacy download en_core_web_sm"):
        read("{input: {pii: {behavior: MASK}}}", "{entities: [PERSON]}")


def test_names_use_the_model_that_is_installed(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name in _MODELS and name != "en_core_web_sm" else name
    )
    found = read("{input: {pii: {behavior: MASK}}}", "{entities: [PERSON]}")
    assert found is not None and found.ner_model == "en_core_web_sm"


@pytest.mark.parametrize("language", ["en", "es", "it", "pl", "de"])
def test_the_entities_of_a_language_are_those_of_presidio(language: str) -> None:
    from aiq.config.guardrails import _EVERY_LANGUAGE, _OF_LANGUAGE
    from aiq.policy.guardrails.presidio import registry

    presidio = {e for r in registry([language]).recognizers for e in r.supported_entities}
    assert presidio == {*_EVERY_LANGUAGE, *(e for e, languages in _OF_LANGUAGE.items() if language in languages)}
    assert presidio < set(ENTITIES) and set(_NAMES).isdisjoint(presidio)


def test_guards_that_ask_endpoints_without_guards_load() -> None:
    check(endpoint("chat", "judge"), endpoint("other", "judge"), endpoint("judge"))


@pytest.mark.parametrize(
    ("endpoints", "words"),
    [
        ([endpoint("chat", "chat")], "chat -> chat"),
        ([endpoint("chat", "judge"), endpoint("judge", "chat")], "chat -> judge -> chat"),
        ([endpoint("a", "b"), endpoint("b", "c"), endpoint("c", "b")], "b -> c -> b"),
        ([endpoint("chat", "jugde"), endpoint("judge")], "Did you mean 'judge'"),
        ([endpoint("chat", "vectors"), endpoint("vectors", task="llm/v1/embeddings")], "makes embeddings"),
    ],
)
def test_a_guard_that_cannot_work_is_refused(endpoints: list[Endpoint], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(*endpoints)
    assert words in caught.value.reason and caught.value.field == "ai_gateway.aiq.guardrails"


def test_llama_guard_is_no_custom_model() -> None:
    guarded = endpoint("chat", safety_endpoint="lg")
    guarded = replace(guarded, guardrails=Guardrails(input=SideGuardrails(safety=True), safety_endpoint="lg"))
    with pytest.raises(ConfigError, match="moderation"):
        check(guarded, endpoint("lg", task="custom"))
