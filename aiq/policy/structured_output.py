"""Whether an answer is the JSON that its request asks for, and what to tell the model where it is not.

Knows bodies and answers in OpenAI's shape; must never know a provider, or who is asked again and when.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

import jsonschema_rs
import orjson

from aiq.errors import ProviderError
from aiq.request import Answer, Request

MAX_FORMATS = 256
"""Response formats whose compiled schema is kept at hand."""
MAX_VIOLATIONS = 5
"""How many violations a model is told at once; a person is told the first."""
MAX_VIOLATION_CHARACTERS = 200

_FENCE = "```"
_OPENING = re.compile(r"```\w*\s*")
_UNCHECKED_ENDS = frozenset({"tool_calls", "function_call"})
"""The model asked for a tool instead of answering."""


class Mismatch(NamedTuple):
    """An answer of the wrong form: the error it is, and the request that may put it right.

    `repair` is None where asking again would not: the answer was cut, or kept back.
    """

    error: ProviderError
    repair: Request | None


class _Format(NamedTuple):
    """What one `response_format` asks for. `schema` None: JSON of any form."""

    schema: jsonschema_rs.Validator | None


class StructuredOutput:
    """Checks answers locally, because not every provider keeps what it was asked for. On the event loop only."""

    def __init__(self) -> None:
        self._formats: dict[bytes, _Format | None] = {}

    def check(self, request: Request, answer: Answer) -> Answer | Mismatch:
        """The answer, without a Markdown fence where one is around its JSON, or what is wrong with it.

        Requests for text, for several choices and answers that call tools pass as they are.
        """
        asked = request.body.get("response_format")
        if asked is None or request.task != "llm/v1/chat" or answer.finish_reason in _UNCHECKED_ENDS:
            return answer
        wanted = self._format(asked)
        if wanted is None or (request.body.get("n") or 1) != 1:
            return answer
        text = answer.value or ""
        bare = _without_fence(text)
        violations = _violations(wanted, bare)
        if not violations:
            return answer if bare is text else _with_text(answer, bare)
        return _mismatch(request, answer, violations)

    def _format(self, asked: Any) -> _Format | None:
        """None where text is asked for."""
        key = orjson.dumps(asked)
        if key not in self._formats:
            if len(self._formats) >= MAX_FORMATS:
                del self._formats[next(iter(self._formats))]
            self._formats[key] = _compiled(asked)
        return self._formats[key]


def _compiled(asked: Any) -> _Format | None:
    kind = asked.get("type") if isinstance(asked, dict) else None
    if kind == "json_object":
        return _Format(jsonschema_rs.validator_for({"type": "object"}, offline=True))
    if kind != "json_schema":
        return None
    envelope = asked.get("json_schema")
    schema = envelope.get("schema") if isinstance(envelope, dict) else None
    if not isinstance(schema, dict):
        return _Format(None)
    try:
        # Offline: a schema comes from a statement, and must not make this process ask an address it names.
        return _Format(jsonschema_rs.validator_for(schema, offline=True))
    except (ValueError, jsonschema_rs.ReferencingError):  # whether it is a schema is for the provider to say
        return _Format(None)


def _without_fence(text: str) -> str:
    """What is between the Markdown fences that a text begins and ends with; the text itself where it does not.

    Without a pattern over the whole: a model may run off into whitespace, and this runs on the event loop.
    """
    body = text.strip()
    if not (body.startswith(_FENCE) and body.endswith(_FENCE) and len(body) >= 2 * len(_FENCE)):
        return text
    return _OPENING.sub("", body[: -len(_FENCE)], count=1).rstrip()


def _violations(wanted: _Format, text: str) -> list[str]:
    """What is wrong with a text, in words that begin with the place; empty where nothing is."""
    if not text.strip():
        return ["$: the answer is empty"]
    try:
        value = orjson.loads(text)
    except ValueError as error:
        return [f"$: the answer is not JSON ({error})"]
    if wanted.schema is None or wanted.schema.is_valid(value):
        return []
    found = [
        f"{_place(error.instance_path)}: {_shortened(error.message)}"
        for error in islice(wanted.schema.iter_errors(value), MAX_VIOLATIONS)
    ]
    return found or ["$: the answer does not conform to the schema"]


def _place(path: Iterable[str | int]) -> str:
    """`$.items[3].price`"""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return _shortened("$" + "".join(steps))


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_VIOLATION_CHARACTERS else text[: MAX_VIOLATION_CHARACTERS - 1] + "…"


def _mismatch(request: Request, answer: Answer, violations: list[str]) -> Mismatch:
    end, repair = answer.finish_reason, None
    if end == "content_filter":
        words = "the provider's content filter cut the answer off"
    elif end == "length":
        words = "the answer was cut off before its JSON was whole: raise max_tokens, or ask for less"
    else:
        more = "" if len(violations) == 1 else " (and more)"
        words = (
            f"the answer is not the JSON that the response format asks for: {violations[0]}{more}. Say in the prompt "
            "what belongs there, or choose a model that keeps to schemas"
        )
        repair = _repair(request, answer.value, violations)
    error = ProviderError(
        words,
        kind="content_filter" if end == "content_filter" else "bad_schema",
        status=400 if end == "content_filter" else 200,
        body=answer.raw,
        usage=answer.usage,
    )
    return Mismatch(error, repair)


def _repair(request: Request, text: str | None, violations: list[str]) -> Request:
    """The request with the answer and what is wrong with it. An empty answer is asked for again as it was."""
    messages = request.body.get("messages")
    if not text or not text.strip() or not isinstance(messages, list):
        return request
    wrong = "\n".join(f"- {violation}" for violation in violations)
    instruction = (
        f"This answer is not the JSON that was asked for:\n{wrong}\n"
        "Answer again with the whole corrected JSON only: no explanation, no Markdown."
    )
    conversation = [*messages, {"role": "assistant", "content": text}, {"role": "user", "content": instruction}]
    return request._replace(body={**request.body, "messages": conversation})


def _with_text(answer: Answer, text: str) -> Answer:
    """The same answer with another text, also in the body that REST callers see."""
    body = orjson.loads(answer.raw)
    body["choices"][0]["message"]["content"] = text
    return answer._replace(value=text, raw=orjson.dumps(body).decode())
