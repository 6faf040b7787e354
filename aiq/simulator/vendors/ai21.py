"""AI21: Jamba's chat completions under `/studio/v1`. Close to OpenAI's, but with FastAPI's errors and fewer words.

Source: AI21's API reference ("Chat request", "Chat response", "Rate limits") and the types of its SDK.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from aiq.simulator.answers import pieces_of
from aiq.simulator.exchange import Choice, Counts, Said, VendorCall, VendorRequest, VendorRoute
from aiq.simulator.limits import Reserving
from aiq.simulator.refusal import VendorError
from aiq.simulator.tokens import chat_tokens, text_tokens, tool_tokens
from aiq.simulator.vendors.base import Base, Keys, bearer, event, instructed_schema, only
from aiq.simulator.vendors.openai_tools import tools_of

_PATH = b"/studio/v1/chat/completions"
_FIELDS = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls"},
    "tool": {"role", "content", "tool_call_id"},
}
_WORDS: dict[str, tuple[int, str]] = {
    "401": (401, "Forbidden: Bad or missing API token."),
    "402": (402, "Payment is required: add a payment method to your account."),
    "404": (404, "Not Found"),
    "context-length": (422, "the prompt exceeds the model's context length of 256000 tokens"),
    "quota-exhausted": (429, "Your trial credits are used up. Upgrade your plan to go on."),
}

Check = Callable[[Any], str]
"""What is wrong with a value; empty where nothing is."""


class AI21(Base):
    """AI21 Studio."""

    name = "ai21"
    bases = (("AI21", "/studio/v1"),)
    limits = Reserving
    not_json = "JSON decode error"
    broken_event = b'data: {"id": "sim", "choices": [{"index": 0, "delta": {"conte\n\n'

    def route(self, method: bytes, path: bytes, query: bytes) -> VendorRoute | None:
        """The one path."""
        if path != _PATH:
            return None
        only(method, b"POST", path)
        return VendorRoute("chat")

    def authenticate(self, call: VendorCall, route: VendorRoute, keys: Keys, now_s: float) -> str:
        """A bearer token."""
        key = bearer(call.headers)
        if not key or not keys.accepts(key):
            raise VendorError(401, _WORDS["401"][1])
        return key

    def read(self, body: dict[str, Any], route: VendorRoute) -> VendorRequest:
        """A chat. Documents count as prompt."""
        for name, value in body.items():
            wrong = _CHECKS[name](value) if name in _CHECKS else "extra fields not permitted"
            if wrong and (value is not None or name in ("model", "messages")):
                raise VendorError(422, wrong, param=name)
        for name in ("model", "messages"):
            if name not in body:
                raise VendorError(422, "field required", param=name)
        messages = body["messages"]
        _check_messages(messages)
        asked = VendorRequest("chat", body["model"], body, chat_tokens(messages), messages=messages, route=route)
        asked.prompt_tokens += sum(text_tokens(document["content"]) for document in body.get("documents") or ())
        if body.get("tools"):
            asked.tools = tools_of(body["tools"])
            asked.prompt_tokens += tool_tokens(asked.tools)
        stop = body.get("stop") or ()
        asked.stop, asked.n = [stop] if isinstance(stop, str) else stop, body.get("n") or 1
        asked.limit, asked.stream = body.get("max_tokens") or 4096, bool(body.get("stream"))
        asked.json = (body.get("response_format") or {}).get("type") == "json_object"
        asked.schema = instructed_schema(messages) if asked.json else None
        asked.sampling = (body.get("temperature"), body.get("top_p"))
        asked.reserve = asked.prompt_tokens + asked.limit
        return asked

    def full_body(self, asked: VendorRequest, said: Said) -> dict[str, Any]:
        """Choices and usage, without the model's name."""
        body: dict[str, Any] = {"id": _identity(said), "choices": [_choice(i, c) for i, c in enumerate(said.choices)]}
        if said.counts is not None:
            body["usage"] = _usage(said.counts)
        return {**body, "meta": {"requestDurationMillis": 1}}

    def stream(self, asked: VendorRequest, said: Said) -> list[bytes]:
        """Chunks; the usage is in the last that has choices."""
        pieces = []
        for index, choice in enumerate(said.choices):
            pieces += [_chunk(said, index, delta) for delta in _deltas(choice)]
            usage: dict[str, Any] = {}
            if said.counts is not None and index == len(said.choices) - 1:
                usage["usage"] = _usage(said.counts)
            last = _chunk(said, index, {"content": ""}, choice.finish_reason, **usage)
            pieces += [last] * (2 if said.fault == "two-finish" else 1)
        return [*pieces, b"data: [DONE]\n\n"]

    def refusal(self, fault: str) -> VendorError | None:
        """AI21's words, as far as they are known."""
        return VendorError(*_WORDS[fault]) if fault in _WORDS else None

    def refused(self, refusal: VendorError, route: VendorRoute | None, number: int) -> tuple[bytes, bytes]:
        """`detail`: a text, or for a field that is wrong a list of where and what."""
        if refusal.param is None:
            return orjson.dumps({"detail": refusal.message}), b""
        place = ["body", *refusal.param.split(".")]
        return orjson.dumps({"detail": [{"loc": place, "msg": refusal.message, "type": "value_error"}]}), b""

    def hint(self, seconds: float) -> bytes:
        """`retry-after` in whole seconds."""
        return b"retry-after: %d\r\n" % -(-seconds // 1)


def _check_messages(messages: Any) -> None:
    called: set[str] = set()
    for index, message in enumerate(messages):
        place = f"messages.{index}"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in _FIELDS:
            raise VendorError(422, f"unexpected value; permitted: {', '.join(_FIELDS)}", param=f"{place}.role")
        for name in message:
            if name not in _FIELDS[role]:
                raise VendorError(422, "extra fields not permitted", param=f"{place}.{name}")
        content, calls = message.get("content"), message.get("tool_calls")
        if not isinstance(content, str) and not (content is None and calls):
            raise VendorError(422, "str type expected", param=f"{place}.content")
        for call in calls or ():
            function = call.get("function") if isinstance(call, dict) else None
            texts = [call.get("id"), function.get("name"), function.get("arguments")] if function else [None]
            if not all(isinstance(text, str) for text in texts):
                raise VendorError(422, "field required", param=f"{place}.tool_calls")
            called.add(call["id"])
        if role == "tool" and message.get("tool_call_id") not in called:
            raise VendorError(422, "tool_call_id does not match a previous tool call", param=f"{place}.tool_call_id")


def _text(value: Any) -> str:
    return "" if isinstance(value, str) and value else "str type expected"


def _number(low: float, high: float, *, integer: bool = False) -> Check:
    def check(value: Any) -> str:
        if type(value) is not int and (integer or type(value) is not float):
            return "value is not a valid integer" if integer else "value is not a valid float"
        if value < low:
            return f"ensure this value is greater than or equal to {low}"
        return f"ensure this value is less than or equal to {high}" if value > high else ""

    return check


def _stop(value: Any) -> str:
    texts = value if isinstance(value, list) else [value]
    return "" if all(isinstance(text, str) for text in texts) else "str type expected"


def _tools(value: Any) -> str:
    for tool in value if isinstance(value, list) else [None]:
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            return "field required"
        parameters = function.get("parameters")
        if function.keys() - {"name", "description", "parameters"}:
            return "extra fields not permitted"
        if not isinstance(parameters, dict) or not isinstance(parameters.get("properties"), dict):
            return "properties: field required"
    return ""


def _format(value: Any) -> str:
    if not isinstance(value, dict) or value.get("type") not in ("text", "json_object"):
        return "unexpected value; permitted: 'text', 'json_object'"
    return "extra fields not permitted" if len(value) > 1 else ""


def _documents(value: Any) -> str:
    for document in value if isinstance(value, list) else [None]:
        if not isinstance(document, dict) or not isinstance(document.get("content"), str):
            return "content: field required"
        if document.keys() - {"id", "content", "metadata"}:
            return "extra fields not permitted"
    return ""


_CHECKS: dict[str, Check] = {
    "model": _text,
    "messages": lambda value: "" if isinstance(value, list) and value else "ensure this value has at least 1 items",
    "max_tokens": _number(0, 4096, integer=True),
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "stop": _stop,
    "n": _number(1, 16, integer=True),
    "stream": lambda value: "" if isinstance(value, bool) else "value could not be parsed to a boolean",
    "tools": _tools,
    "response_format": _format,
    "documents": _documents,
}


def _identity(said: Said) -> str:
    return f"chat-sim{said.number:012d}"


def _calls(choice: Choice) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in choice.tool_calls
    ]


def _said(choice: Choice) -> str | None:
    return choice.text if choice.refusal is None else choice.refusal


def _choice(index: int, choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": _said(choice)}
    if choice.tool_calls:
        message["tool_calls"] = _calls(choice)
    return {"index": index, "message": message, "logprobs": None, "finish_reason": choice.finish_reason}


def _usage(counts: Counts) -> dict[str, Any]:
    return {
        "prompt_tokens": counts.input,
        "completion_tokens": counts.output,
        "total_tokens": counts.input + counts.output,
    }


def _deltas(choice: Choice) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant"}]
    deltas += [{"tool_calls": [{"index": i, **call}]} for i, call in enumerate(_calls(choice))]
    return deltas + [{"content": piece} for piece in pieces_of(_said(choice) or "")]


def _chunk(said: Said, index: int, delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return event({"id": _identity(said), "choices": [choice], **more})
