"""Every provider with everything that may be asked of it and everything that may go wrong: docs/providers.md is this.

`AIQ_WRITE_DOCS=1 python -m pytest tests/contract/test_provider_matrix.py` writes the document again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

import aiq
from aiq.batch.loop import submit
from aiq.errors import FunctionError, ProviderError
from aiq.providers.wire.wholeness import ENDS
from aiq.request import Answer, Caller, Request, Task
from aiq.simulator.process import SimulatorProcess
from tests.contract.credential_ways import ways_section
from tests.contract.providers import NOWHERE, Case, cases
from tests.contract.test_answers_table import FORMS
from tests.processes import PATIENCE_S

DOCUMENT = Path(__file__).parents[2] / "docs" / "providers.md"
MARK = "<!-- The rest is made by tests/contract/test_provider_matrix.py. -->"
"""What is above it is written by hand."""
NAMES = [case.name for case in cases(NOWHERE)]
TIMEOUT_S = 3.0
"""After so long a provider that says nothing is given up here."""
PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+M8AAAMCAQDJfgt+AAAAAElFTkSuQmCC"
)
PDF, WAV = b"%PDF-1.7\n%%EOF\n", b"RIFF\x24\x00\x00\x00WAVEfmt " + b"\x00" * 24
SCHEMA = {
    "type": "object",
    "properties": {"good": {"type": "boolean"}, "stars": {"type": "integer"}},
    "required": ["good", "stars"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ASKED = ("chat", "system prompt", "structured output", "tools", "image", "PDF", "recording", "stream", "embeddings")

ERRORS = {
    "400": "bad_request",
    "401": "auth",
    "403": "auth",
    "404": "not_found",
    "408": "overloaded",
    "429-forever": "rate_limited",
    "500": "overloaded",
    "503": "overloaded",
    "529": "overloaded",
    "context-length": "context_length",
    "content-filter": "content_filter",
    "quota-exhausted": "quota_exhausted",
    "timeout": "timeout",
    "reset": "network",
    "cut": "network",
    "truncated": "bad_answer",
    "malformed": "bad_answer",
    "html": "bad_answer",
    "empty": "bad_answer",
    "redirect": "not_found",
}
"""Faults of the simulator, and the class that each must have at every provider."""


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess.start() as process:
        yield process


@pytest.fixture(scope="module")
def session(simulator: SimulatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[aiq.Session]:
    folder = tmp_path_factory.mktemp("matrix")
    (folder / "conf" / "endpoints").mkdir(parents=True)
    servers: dict[str, Any] = {}
    for number, case in enumerate(cases(simulator.url)):
        for kind, entity in (("chat", case.entity), ("vectors", case.embeddings)):
            if entity is not None:
                name = f"{kind}-{number}"
                body = {"name": name, "config": {"served_entities": [entity]}}
                (folder / "conf" / "endpoints" / f"{name}.yml").write_text(yaml.safe_dump(body))
                if case.server is not None:
                    servers[name] = {"model_server": case.server}
    settings = {"retries": 0, "timeout_s": TIMEOUT_S, "endpoints": servers}
    (folder / "conf" / "aiq.yml").write_text(yaml.safe_dump(settings))
    with aiq.connect(conf=folder / "conf", home=folder / "home", user="ann") as s:
        yield s


class Asking:
    """Asks one provider."""

    def __init__(self, session: aiq.Session, number: int, case: Case) -> None:
        self.session, self.case, self.number = session, case, number
        self.endpoint = f"chat-{number}"
        self.task: Task = case.server["task"] if case.server else "llm/v1/chat"

    def request(self, content: Any, **body: Any) -> Request:
        messages = (
            content if isinstance(content, list) and "role" in content[0] else [{"role": "user", "content": content}]
        )
        return Request(self.endpoint, self.task, {"messages": messages, **body}, Caller("ann"), "st")

    def answer(self, content: Any, **body: Any) -> Answer:
        return submit(self.session.gateway.answer(self.request(content, **body))).result(timeout=PATIENCE_S)

    def message(self, answer: Answer) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(answer.raw)["choices"][0]["message"]
        return found

    def can(self, what: str) -> bool:
        """Asks for it. False where the provider has no such thing, and says so before the call; wrong is an error."""
        self.session.gateway.open_endpoint(self.endpoint)
        return bool(getattr(self, f"_{what.lower().replace(' ', '_')}")())

    def _chat(self) -> bool:
        answer = self.answer("Say hello to the matrix.")
        assert isinstance(answer.value, str) and "hello to the matrix" in answer.value.lower()
        assert answer.finish_reason == "stop"
        assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0 and not answer.usage.estimated
        return True

    def _system_prompt(self) -> bool:
        told = [
            {"role": "system", "content": "Answer with exactly one of: yes, no."},
            {"role": "user", "content": "Is yes a word?"},
        ]
        assert self.answer(told).value == "yes"
        return True

    def _structured_output(self) -> bool:
        form = {"type": "json_schema", "json_schema": {"name": "rating", "strict": True, "schema": SCHEMA}}
        if not self.case.structured:
            with pytest.raises(FunctionError):
                self.session.sql(
                    f"SELECT ai_query('{self.endpoint}', 'x', responseFormat => 'STRUCT<a: STRUCT<b: INT>>')"
                )
            return False
        found = orjson.loads(self.answer("Rate the matrix.", response_format=form).value)
        assert {name: type(value) for name, value in found.items()} == {"good": bool, "stars": int}
        return True

    def _tools(self) -> bool:
        if not self.case.tools:
            return False
        forced = {"tool_choice": "required"} if self.case.forced else {}
        answer = self.answer("What is the weather in Rome?", tools=[TOOL], **forced)
        message = self.message(answer)
        [call] = message["tool_calls"]
        assert answer.finish_reason == "tool_calls"
        assert call["function"]["name"] == "weather"
        assert isinstance(orjson.loads(call["function"]["arguments"])["city"], str)
        told = [
            {"role": "user", "content": "What is the weather in Rome?"},
            {"role": "assistant", "content": None, "tool_calls": message["tool_calls"]},
            {"role": "tool", "tool_call_id": call["id"], "content": "Sunny and 31 degrees in Rome."},
        ]
        after = self.answer(told, tools=[TOOL])
        assert isinstance(after.value, str) and "31 degrees" in after.value
        return True

    def _image(self) -> bool:
        parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": PNG}}]
        if not self.case.images:
            with pytest.raises(ProviderError, match="image"):
                self.answer(parts)
            return False
        value = self.answer(parts).value
        assert isinstance(value, str) and "1 image(s) (image/png" in value
        return True

    def _pdf(self) -> bool:
        return self._file(PDF, self.case.pdf)

    def _recording(self) -> bool:
        return self._file(WAV, self.case.audio)

    def _file(self, blob: bytes, takes: bool) -> bool:
        """By SQL, as people do. What is not taken is refused before anything is sent."""
        sql = f"SELECT ai_query('{self.endpoint}', 'What is it?', files => ?)"
        if not takes:
            with pytest.raises(ProviderError, match=r"takes (no|text only|texts)"):
                self.session.sql(sql, [blob])
            return False
        ((value,),) = self.session.sql(sql, [blob]).fetchall()
        assert isinstance(value, str) and value
        return True

    def _stream(self) -> bool:
        request = self.request("Tell the matrix a tale of several words.")

        async def read() -> list[Any]:
            return [chunk async for chunk in self.session.gateway.stream(request)]

        chunks = submit(read()).result(timeout=PATIENCE_S)
        whole = submit(self.session.gateway.answer(request)).result(timeout=PATIENCE_S)
        assert "".join(chunk.text for chunk in chunks) == whole.value
        assert len(chunks) > 3
        used = chunks[-1].usage
        assert used is not None and used[:2] == whole.usage[:2]
        return True

    def _embeddings(self) -> bool:
        if self.case.embeddings is None:
            return False
        rows = self.session.sql(
            f"SELECT ai_query('vectors-{self.number}', 'text ' || (i % 2)) FROM range(4) t(i) ORDER BY i"
        ).fetchall()
        vectors = [row[0] for row in rows]
        assert len(vectors[0]) > 0 and vectors[0] == vectors[2] != vectors[1] == vectors[3]
        return True

    def begin(self, fault: str) -> Future[Answer]:
        """Asks with a fault, and does not wait for what comes of it."""
        self.session.gateway.open_endpoint(self.endpoint)
        return submit(self.session.gateway.answer(self.request(f"Number {self.number} [[fault:{fault}]]")))

    def fails(self, fault: str, begun: Future[Answer] | None = None) -> str:
        """The class of the error that a fault becomes; raises where it becomes an answer."""
        try:
            answer = (begun or self.begin(fault)).result(timeout=PATIENCE_S)
        except ProviderError as error:
            assert "sk-good" not in str(error) and "simulated secret" not in str(error)
            return error.kind
        raise AssertionError(f"{fault} became the answer {answer.value!r}")


@pytest.fixture(scope="module")
def asking(session: aiq.Session, simulator: SimulatorProcess) -> dict[str, Asking]:
    return {case.name: Asking(session, number, case) for number, case in enumerate(cases(simulator.url))}


@pytest.fixture(scope="module")
def silent(asking: dict[str, Asking]) -> dict[str, Future[Answer]]:
    """Everybody is waited for at the same time."""
    return {name: each.begin("timeout") for name, each in asking.items()}


@pytest.fixture(scope="module")
def seen() -> dict[tuple[str, str], str]:
    """What came of each pair of provider and thing, for the document."""
    return {}


@pytest.mark.parametrize("what", ASKED)
@pytest.mark.parametrize("name", NAMES)
def test_a_provider_does_what_it_can_and_refuses_the_rest(
    asking: dict[str, Asking], seen: dict[tuple[str, str], str], name: str, what: str
) -> None:
    seen[name, what] = "yes" if asking[name].can(what) else "-"


@pytest.mark.parametrize("fault", ERRORS)
@pytest.mark.parametrize("name", NAMES)
def test_an_error_has_the_same_class_at_every_provider(
    asking: dict[str, Asking],
    silent: dict[str, Future[Answer]],
    seen: dict[tuple[str, str], str],
    name: str,
    fault: str,
) -> None:
    expected = ERRORS[fault]
    if fault == "content-filter" and not asking[name].case.filters:
        expected = "bad_request"  # somebody else's words: it has no content filter
    seen[name, fault] = asking[name].fails(fault, silent[name] if fault == "timeout" else None)
    assert seen[name, fault] == expected


def test_the_document_says_what_was_seen(seen: dict[tuple[str, str], str]) -> None:
    if len(seen) < len(NAMES) * (len(ASKED) + len(ERRORS)):
        pytest.fail("run the whole file: the document is made of all its results")
    page = DOCUMENT.read_text()
    before, mark, _ = page.partition(MARK)
    text = before + mark + written(seen)
    if os.environ.get("AIQ_WRITE_DOCS"):
        DOCUMENT.write_text(text)
    assert page == text


def written(seen: dict[tuple[str, str], str]) -> str:
    lines = [
        "",
        "",
        "Every provider's simulation was asked for all of it through the gateway. What is not there (-) is refused by "
        "name before a call.",
        "",
        f"| Provider | {' | '.join(ASKED)} |",
        f"|---|{'---|' * len(ASKED)}",
    ]
    lines += [f"| {name} | {' | '.join(seen[name, what] for what in ASKED)} |" for name in NAMES]
    lines += [
        "",
        "An error has one class, whoever makes it and in whatever words, and the class decides on retry and fallback:",
        "",
        "| What comes back | Class |",
        "|---|---|",
    ]
    lines += [f"| {WORDS.get(fault, f'HTTP {fault}')} | `{kind}` |" for fault, kind in ERRORS.items()]
    lines += ["", f"Seen at all {len(NAMES)}: no call hung, and none of these became an answer.", ""]
    return "\n".join([*lines, *ways_section(), *answers_section(), ""])


def answers_section() -> list[str]:
    """What the table of answers holds, and the finish reasons that the adapters know."""
    counted = Counter((case["kind"], case["adapter"]) for _, _, case in FORMS)
    kinds = list(dict.fromkeys(kind for kind, _ in counted))
    adapters = list(dict.fromkeys(adapter for _, adapter in counted))
    lines = [
        "## Answers, byte for byte",
        "",
        f"{len(FORMS)} raw responses after public reports of gateways and SDKs are served over sockets, whole and as",
        "streams (tests/contract/answers.yml). Each becomes its value or an error of its class, with tokens and cost:",
        "",
        f"| Adapter | {' | '.join(KINDS[kind] for kind in kinds)} |",
        f"|---|{'---|' * len(kinds)}",
    ]
    lines += [f"| {name} | {' | '.join(str(counted[kind, name]) for kind in kinds)} |" for name in adapters]
    lines += [
        "",
        "What is not known to be whole is no answer, and is never kept. A finish reason that is not in this table does",
        "not say so; a body of OpenAI's form that has arrived whole may leave it out:",
        "",
        "| Form | Whole | Cut by a limit | `content_filter` | Failed: `overloaded` | Unfinished: `bad_answer` |",
        "|---|---|---|---|---|---|",
    ]
    for form, ends in ENDS.items():
        columns = (("whole", "calls"), ("cut",), ("filtered",), ("failed",), ("unfinished",))
        cells = (", ".join(reason for reason, end in ends.items() if end in column) or "-" for column in columns)
        lines.append(f"| {form} | {' | '.join(cells)} |")
    return lines


KINDS = {
    "usage": "usage as billed",
    "end": "how it ended",
    "nothing": "nothing said",
    "stream": "streams",
    "form": "forms of servers",
    "words": "words of errors",
    "status": "statuses",
}


WORDS = {
    "429-forever": "HTTP 429, or Gemini's and Bedrock's own words for it",
    "context-length": "the prompt is too long for the model, in each provider's words",
    "content-filter": "blocked prompts and answers, as an error or as an answer without content (AI21 has no filter)",
    "quota-exhausted": "no credit, a spend limit",
    "timeout": "nothing within the time allowed",
    "reset": "the connection is reset",
    "cut": "the connection ends in the middle of the body",
    "truncated": "half of a JSON",
    "malformed": "no JSON at all",
    "html": "200 with an HTML page",
    "empty": "200 without an answer in it",
    "redirect": "a redirect, which is never followed",
}


def test_nothing_of_all_that_was_lost(asking: dict[str, Asking], session: aiq.Session) -> None:
    calls = session.sql("SELECT count(*) FROM system.aiq.calls WHERE status = 'orphaned'").fetchall()
    assert calls == [(0,)]
