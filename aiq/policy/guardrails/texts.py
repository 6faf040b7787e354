"""The texts of a request and of an answer: what guardrails read, and where masked text is put back.

Never changes what it is given: what is rewritten is a copy as far up as needed. Images, audio and files are not read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from aiq.policy.guardrails.masking import edit_json
from aiq.request import Answer, Request

Edit = Callable[[str], str]
_CONTENT = ("messages", "prompt", "suffix", "input", "instructions")
_CONTROL = frozenset(
    ("role", "type", "id", "tool_call_id", "call_id", "name", "index", "finish_reason", "detail", "format",
     "image_url", "input_audio", "file", "data", "logprobs", "cache_control")
)  # fmt: skip
"""Members that name or carry things that are not text for the model."""
_NOTHING: frozenset[str] = frozenset()


class _Collect:
    """An edit that changes nothing and remembers what it was shown."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, text: str) -> str:
        self.texts.append(text)
        return text


class Unreadable(Exception):
    """The request carries token numbers instead of text, which no guardrail can read."""


def request_texts(request: Request) -> list[str]:
    """All texts of a request, the arguments of tool calls taken apart. Raises Unreadable for token numbers."""
    collect = _Collect()
    edit_request(request, collect)
    return collect.texts


def edit_request(request: Request, edit: Edit) -> Request:
    """The request with `edit` applied to every text; the same one where nothing changed. Raises Unreadable."""
    body, changed = request.body, {}
    custom = request.task == "custom"
    for name in body if custom else _CONTENT:
        value = body.get(name)
        if value is None:
            continue
        if name in ("input", "prompt") and _holds_tokens(value):
            raise Unreadable
        edited = _edit(value, edit, _NOTHING if custom else _CONTROL, json_text=False)
        if edited is not value:
            changed[name] = edited
    return request._replace(body={**body, **changed}) if changed else request


def answer_texts(request: Request, answer: Answer) -> list[str]:
    """All texts of an answer's choices, the arguments of tool calls and structured output taken apart."""
    collect = _Collect()
    data, structured = _choices(answer), is_structured(request)
    if isinstance(answer.value, str):
        _edit(answer.value, collect, _CONTROL, json_text=structured)
    if data is not None:
        _edit(data["choices"], collect, _CONTROL, json_text=structured)
    return list(dict.fromkeys(collect.texts))


def edit_answer(request: Request, answer: Answer, edit: Edit, report: list[dict[str, Any]]) -> Answer:
    """The answer with `edit` applied to its value and to its body, which also carries the report then."""
    structured = is_structured(request)
    value = answer.value
    if isinstance(value, str):
        value = _edit(value, edit, _CONTROL, json_text=structured)
    data = _choices(answer)
    if data is None:
        message = {"role": "assistant", "content": value}
        data = {"choices": [{"index": 0, "message": message, "finish_reason": answer.finish_reason}]}
    else:
        choices = _edit(data["choices"], edit, _CONTROL, json_text=structured)
        # The tokens that logprobs repeats are the text that was masked.
        data["choices"] = [_without(choice, "logprobs") for choice in choices]
    raw = orjson.dumps({**data, "output_guardrail": report}).decode()
    return answer._replace(value=value, raw=raw)


def answer_text(answer: Answer) -> str:
    """What the model said, in one text: the content and the arguments of tool calls of every choice."""
    data = _choices(answer)
    collect = _Collect()
    if data is not None:
        _edit(data["choices"], collect, _CONTROL, json_text=False)
    elif isinstance(answer.value, str):
        collect(answer.value)
    return "\n\n".join(collect.texts)


def choices_of(answer: Answer) -> list[Any]:
    """The answer's choices in OpenAI's shape."""
    data = _choices(answer)
    return data["choices"] if data is not None else [{"message": {"role": "assistant", "content": answer.value}}]


def messages_of(request: Request) -> list[Any]:
    """The request as messages in OpenAI's shape; texts of other tasks are messages of the user."""
    messages = request.body.get("messages")
    if isinstance(messages, list):
        return messages
    return [{"role": "user", "content": text} for text in request_texts(request)]


def is_structured(request: Request) -> bool:
    """True where the answer was asked for as JSON."""
    form = request.body.get("response_format")
    return isinstance(form, Mapping) and form.get("type") in ("json_object", "json_schema")


def _edit(value: Any, edit: Edit, skipped: frozenset[str], *, json_text: bool) -> Any:
    """The very same object where nothing changed. `json_text`: texts are JSON, but for what is none."""
    if isinstance(value, str):
        edited = edit_json(value, edit) if json_text else edit(value)
        return value if edited == value else edited
    if isinstance(value, list):
        items = [_edit(item, edit, skipped, json_text=json_text) for item in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    if isinstance(value, dict):
        changed = {}
        for name, member in value.items():
            if name in skipped:
                continue
            edited = _edit(member, edit, skipped, json_text=json_text or (name == "arguments" and bool(skipped)))
            if edited is not member:
                changed[name] = edited
        return {**value, **changed} if changed else value
    return value


def _choices(answer: Answer) -> dict[str, Any] | None:
    """The body of the answer where it has choices."""
    try:
        data = orjson.loads(answer.raw)
    except ValueError:
        return None
    if isinstance(data, dict) and isinstance(data.get("choices"), list) and data["choices"]:
        return data
    return None


def _holds_tokens(value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return any(isinstance(item, int) or (isinstance(item, list) and _holds_tokens(item)) for item in value)


def _without(value: Any, name: str) -> Any:
    return {key: member for key, member in value.items() if key != name} if isinstance(value, dict) else value


def parse_json(text: object) -> Any:
    """A value that came as JSON text, perhaps inside a fence; any other value as it is. Raises ValueError."""
    if not isinstance(text, str):
        return text
    stripped = text.strip()
    if stripped.startswith("```"):
        stripped = stripped.strip("`").removeprefix("json")
    return json.loads(stripped)
