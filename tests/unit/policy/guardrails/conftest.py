"""presidio itself as the reference, texts to compare on, and guards whose endpoints answer from a script."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import orjson
import pytest

from aiq.config.endpoint import PII_ENTITIES, Guardrails, SideGuardrails
from aiq.policy.guardrails.guards import Checked, Guards
from aiq.policy.guardrails.pii import Finding, PiiDetector
from aiq.request import Answer, Caller, Request, Task, Usage

Plain = Callable[[str], list[Finding]]


@pytest.fixture(scope="session")
def texts() -> ModuleType:
    """The generator of texts beside this file."""
    spec = importlib.util.spec_from_file_location("pii_texts", Path(__file__).with_name("pii_texts.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def plain() -> Plain:
    """presidio's engine with a blank spaCy pipeline, as its users build it."""
    import spacy
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    from aiq.policy.guardrails.presidio import registry

    nlp = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "blank"}])
    nlp.nlp = {"en": spacy.blank("en")}
    engine = AnalyzerEngine(registry=registry(["en"]), nlp_engine=nlp, supported_languages=["en"])

    def find(text: str) -> list[Finding]:
        results = engine.analyze(text, "en", entities=list(PII_ENTITIES))
        return [Finding(r.entity_type, r.start, r.end, r.score) for r in results]

    return find


@pytest.fixture(scope="session")
def detector() -> PiiDetector:
    detector = PiiDetector(PII_ENTITIES)
    detector.prepare()
    return detector


class Script:
    """Endpoints that answer what a test says, and remember what they were asked."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Task, dict[str, Any]]] = []

    async def __call__(self, request: Request, endpoint: str, task: Task, body: dict[str, Any]) -> Answer:
        self.asked.append((endpoint, task, body))
        value = self.answers[endpoint]
        if isinstance(value, BaseException):
            raise value
        if isinstance(value, asyncio.Future):
            await value
        return Answer(value, Usage(1, 1), "judge", "stop", "{}")


class World:
    """Guards over scripted endpoints, all with task chat unless a test says otherwise."""

    def __init__(self) -> None:
        self.script = Script({})
        self.tasks: dict[str, Task] = {}

    def guards(
        self, input: SideGuardrails | None = None, output: SideGuardrails | None = None, **settings: Any
    ) -> Guards:
        off = SideGuardrails()
        guardrails = Guardrails(input=input or off, output=output or off, **settings)
        tasks: dict[str, Task] = {name: "llm/v1/chat" for name in guardrails.endpoints()}
        guards = Guards(guardrails, self.script, {**tasks, **self.tasks})
        guards.prepare()
        return guards

    def check(self, prompt: str, side: SideGuardrails, **settings: Any) -> Checked:
        """A chat request with one message, through the guards of the input."""
        return asyncio.run(self.guards(side, **settings).check_input(chat(prompt)))

    def check_answer(self, text: str, side: SideGuardrails, **settings: Any) -> Checked:
        """An answer with one choice, through the guards of the output."""
        return asyncio.run(self.guards(None, side, **settings).check_output(chat("hello"), answered(text)))


@pytest.fixture
def world() -> World:
    return World()


def chat(*prompts: str, **body: Any) -> Request:
    messages = [{"role": "user", "content": prompt} for prompt in prompts]
    return Request("chat", "llm/v1/chat", {"messages": messages, **body}, Caller("ann@example.com"), "s1")


def answered(text: str | None, **message: Any) -> Answer:
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
    raw = orjson.dumps({"id": "chatcmpl-1", "choices": [choice]}).decode()
    return Answer(text, Usage(7, 5), "gpt", "stop", raw)


@pytest.fixture
def make_chat() -> Callable[..., Request]:
    return chat


@pytest.fixture
def make_answer() -> Callable[..., Answer]:
    return answered
