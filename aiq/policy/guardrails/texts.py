"""The texts of a request and of an answer: what guardrails read, and where masked text is put back.

Never changes what it is given: what is rewritten is a copy as far up as needed. Where text can stand: `places`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson

from aiq.policy.guardrails.places import Piece, Visit, walk
from aiq.request import Answer, Request


class Unreadable(Exception):
    """The request carries token numbers instead of text, which no guardrail can read."""


def request_pieces(request: Request, known: Mapping[str, Any] | None = None) -> list[Piece]:
    """Every text of a request, the arguments of tool calls taken apart; not the very members that are `known`.

    Raises Unreadable for token numbers.
    """
    for name in ("input", "prompt"):
        if request.task != "custom" and _holds_tokens(request.body.get(name)):
            raise Unreadable
    pieces: list[Piece] = []
    body = request.body
    if known:
        body = {name: member for name, member in body.items() if name not in known or known[name] is not member}
    walk(body, _collector(pieces), free=request.task == "custom")
    return pieces


def edit_request(request: Request, visit: Visit) -> Request:
    """The request with every text as `visit` gives it back; the same one where nothing changed."""
    body = walk(request.body, visit, free=request.task == "custom")
    return request if body is request.body else request._replace(body=body)


def request_text(request: Request) -> str:
    """What a judge reads of a request: all of its text, but for ids, links and what is no sentence."""
    return "\n\n".join(piece.text for piece in request_pieces(request) if not (piece.fixed or piece.opaque))


def answer_pieces(request: Request, answer: Answer) -> list[Piece]:
    """Every text of an answer's whole body and value, tool calls and structured output taken apart."""
    pieces: list[Piece] = []
    visit, structured = _collector(pieces), is_structured(request)
    if isinstance(answer.value, str):
        walk(answer.value, visit, json_text=structured)
    body = _body(answer)
    if body is None:
        walk(answer.raw, visit)
    else:
        walk(_without_logprobs(body), visit, json_text=structured)
    return list(dict.fromkeys(pieces))


def edit_answer(request: Request, answer: Answer, visit: Visit, report: list[dict[str, Any]]) -> Answer:
    """The answer with `visit` applied to its value and to its whole body, which also carries the report then."""
    structured = is_structured(request)
    value = answer.value
    if isinstance(value, str):
        value = walk(value, visit, json_text=structured)
    body = _body(answer)
    if body is None or not _has_choices(body):
        message = {"role": "assistant", "content": value}
        body = {"choices": [{"index": 0, "message": message, "finish_reason": answer.finish_reason}]}
    else:
        # The tokens that logprobs repeats are the text that was masked.
        body = walk(_without_logprobs(body), visit, json_text=structured)
    raw = orjson.dumps({**body, "output_guardrail": report}).decode()
    return answer._replace(value=value, raw=raw)


def answer_text(answer: Answer) -> str:
    """What the model said, in one text: the content and the arguments of tool calls of every choice.

    Of an agent also what its tools said, and its own outputs.
    """
    body = _body(answer)
    if body is None or not _has_choices(body):
        return answer.value if isinstance(answer.value, str) else ""
    pieces: list[Piece] = []
    body = _without_logprobs(body)
    walk(
        [body[name] for name in ("choices", "output", "messages", "custom_outputs") if name in body], _collector(pieces)
    )
    return "\n\n".join(dict.fromkeys(piece.text for piece in pieces if not (piece.fixed or piece.opaque)))


def choices_of(answer: Answer) -> list[Any]:
    """The answer's choices in OpenAI's shape."""
    body = _body(answer)
    if body is None or not _has_choices(body):
        return [{"message": {"role": "assistant", "content": answer.value}}]
    choices: list[Any] = body["choices"]
    return choices


def messages_of(request: Request) -> list[Any]:
    """The request as messages in OpenAI's shape; texts of other tasks are messages of the user."""
    messages = request.body.get("messages")
    if isinstance(messages, list):
        return messages
    pieces = request_pieces(request)
    return [{"role": "user", "content": piece.text} for piece in pieces if not (piece.fixed or piece.opaque)]


def is_structured(request: Request) -> bool:
    """True where the answer was asked for as JSON."""
    form = request.body.get("response_format")
    return isinstance(form, Mapping) and form.get("type") in ("json_object", "json_schema")


def _collector(pieces: list[Piece]) -> Visit:
    """Changes nothing and keeps what it is shown."""

    def visit(piece: Piece) -> str:
        pieces.append(piece)
        return piece.text

    return visit


def _body(answer: Answer) -> dict[str, Any] | None:
    """The body of the answer where it is an object."""
    try:
        body = orjson.loads(answer.raw)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _has_choices(body: dict[str, Any]) -> bool:
    return isinstance(body.get("choices"), list) and bool(body["choices"])


def _holds_tokens(value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return any(isinstance(item, int) or (isinstance(item, list) and _holds_tokens(item)) for item in value)


def _without_logprobs(body: dict[str, Any]) -> dict[str, Any]:
    if not _has_choices(body):
        return body
    choices = [
        {name: member for name, member in choice.items() if name != "logprobs"} if isinstance(choice, dict) else choice
        for choice in body["choices"]
    ]
    return {**body, "choices": choices}


def parse_json(text: object) -> Any:
    """A value that came as JSON text, perhaps inside a fence; any other value as it is. Raises ValueError."""
    if not isinstance(text, str):
        return text
    stripped = text.strip()
    if stripped.startswith("```"):
        stripped = stripped.strip("`").removeprefix("json")
    return json.loads(stripped)
