"""Anthropic's Messages API in front of a chat: its SDK, Claude Code and LiteLLM speak it.

Members and beta headers that are not known are dropped, as Anthropic's clients send new ones every month; what changes
the answer and cannot be honoured is refused. Source: the Anthropic API reference, "Messages", "Streaming messages".
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import orjson

from aiq.errors import ProviderError
from aiq.serve.http import event
from aiq.serve.refusals import Refusal, refuse
from aiq.serve.responses import new_id
from aiq.serve.shapes import estimated_tokens, member, objects, only_choice, text_of

_SAME = ("temperature", "top_p", "stream", "usage_context", "client_request_id", "databricks_options")
_OWN = ("top_k", "thinking")
"""Parameters of Anthropic's own, which its models take and others refuse by name."""
_STOP_REASON = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class AnthropicShape:
    """The shape of `POST /v1/messages`."""

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        """One body as a chat: `system` becomes the first message, tool results messages of role `tool`."""
        messages: list[dict[str, Any]] = []
        if system := body.get("system"):
            messages.append({"role": "system", "content": _system(system)})
        said = objects(body.get("messages"), "messages")
        for at, message in enumerate(said):
            _add(messages, message, f"messages[{at}]")
        most = member(body, "max_tokens", int, "")
        made: dict[str, Any] = {"messages": messages, "max_tokens": most}
        made |= {name: body[name] for name in (*_SAME, *_OWN) if body.get(name) is not None}
        thinking = member(made, "thinking", dict, "", needed=False)
        if thinking and thinking.get("type") in ("disabled", "adaptive"):
            del made["thinking"]  # as the model does by itself
        if stops := body.get("stop_sequences"):
            made["stop"] = stops
        if tools := body.get("tools"):
            made["tools"] = [_tool(tool, f"tools[{at}]") for at, tool in enumerate(objects(tools, "tools"))]
            made |= _tool_choice(body)
        metadata = member(body, "metadata", dict, "", needed=False) or {}
        user = member(metadata, "user_id", str, "metadata.", needed=False)
        return {**made, "user": user} if user else made

    def reply(self, completion: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        message, reason = only_choice(completion)
        content: list[dict[str, Any]] = []
        if text := text_of(message.get("content")):
            content.append({"type": "text", "text": text})
        for call in message.get("tool_calls") or ():
            function = call["function"]
            block = {"id": call["id"], "name": function["name"], "input": _input(function["arguments"])}
            content.append({"type": "tool_use", **block})
        return {
            **_message(completion.get("model"), content),
            "stop_reason": _STOP_REASON.get(reason, "end_turn"),
            "stop_sequence": None,
            "usage": _usage(completion["usage"]),
        }

    async def events(self, chunks: AsyncIterator[dict[str, Any]], body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        writer = _MessagesWriter()
        async for chunk in chunks:
            for made in writer.written(chunk):
                yield _event(made)
        for made in writer.end():
            yield _event(made)

    def broken(self, refused: Refusal) -> bytes:
        return _event(self.error(refused))

    def error(self, refused: Refusal) -> dict[str, Any]:
        kind = _ERRORS.get(refused.status, "api_error" if refused.status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": refused.message}}

    def count(self, body: dict[str, Any]) -> dict[str, int]:
        """What `count_tokens` answers: an estimate of four characters a token, tools and their schemas with them."""
        return {"input_tokens": estimated_tokens(self.chat({"max_tokens": 1, **body}))}


ANTHROPIC = AnthropicShape()


def models_body(models: list[dict[str, Any]]) -> dict[str, Any]:
    """Anthropic's list of models, from OpenAI's."""
    found = [model_body(model) for model in models]
    ends = {"first_id": found[0]["id"], "last_id": found[-1]["id"]} if found else {"first_id": None, "last_id": None}
    return {"data": found, "has_more": False, **ends}


def model_body(model: dict[str, Any]) -> dict[str, Any]:
    """One model of Anthropic's list, from OpenAI's."""
    name = model["id"]
    return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}


def _system(system: Any) -> str:
    if isinstance(system, str):
        return system
    return "\n\n".join(
        member(block, "text", str, f"system[{at}].") for at, block in enumerate(objects(system, "system"))
    )


def _add(messages: list[dict[str, Any]], message: dict[str, Any], place: str) -> None:
    """Adds one message to a chat: as several, where it holds results of tools."""
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system"):
        refuse(f"{place}.role must be user or assistant")
    if isinstance(content, str):
        messages.append({"role": role, "content": content})
        return
    parts, calls = [], []
    for at, block in enumerate(objects(content, f"{place}.content")):
        where, kind = f"{place}.content[{at}]", block.get("type")
        if kind == "tool_result":
            name = member(block, "tool_use_id", str, f"{where}.")
            messages.append({"role": "tool", "tool_call_id": name, "content": _result(block, where)})
        elif kind == "tool_use":
            function = {
                "name": member(block, "name", str, f"{where}."),
                "arguments": orjson.dumps(block.get("input") or {}).decode(),
            }
            calls.append({"id": member(block, "id", str, f"{where}."), "type": "function", "function": function})
        elif kind not in ("thinking", "redacted_thinking"):  # what a model thought is not said again
            parts.append(_part(block, where))
    if parts or calls or not messages:
        text = all(part["type"] == "text" for part in parts)
        if text and (role == "assistant" or len(parts) == 1):
            joined = "".join(part["text"] for part in parts)
            made: dict[str, Any] = {"role": role, "content": joined or None if calls else joined}
        else:
            made = {"role": role, "content": parts}
        messages.append({**made, "tool_calls": calls} if calls else made)


def _result(block: dict[str, Any], place: str) -> str:
    """The text of a tool's result. A failure says so in words, as a chat has no other place for it."""
    content = block.get("content")
    if isinstance(content, list):
        parts = [_part(part, f"{place}.content[{at}]") for at, part in enumerate(objects(content, f"{place}.content"))]
        if any(part["type"] != "text" for part in parts):
            refuse(f"{place} has an image, which a tool's result cannot hold here; send it as a block of the user")
        content = "".join(part["text"] for part in parts)
    text = content if isinstance(content, str) else ""
    return f"Error: {text}" if block.get("is_error") else text


def _part(block: dict[str, Any], place: str) -> dict[str, Any]:
    kind, source = block.get("type"), block.get("source")
    if kind == "text":
        return {"type": "text", "text": member(block, "text", str, f"{place}.")}
    if kind == "image" and isinstance(source, dict):
        if source.get("type") == "url":
            url = member(source, "url", str, f"{place}.source.")
        elif source.get("type") == "base64":
            media = member(source, "media_type", str, f"{place}.source.")
            url = f"data:{media};base64,{member(source, 'data', str, f'{place}.source.')}"
        else:
            refuse(f"{place}.source must be of type base64 or url")
        return {"type": "image_url", "image_url": {"url": url}}
    if kind == "document" and isinstance(source, dict) and source.get("type") == "text":
        return {"type": "text", "text": member(source, "data", str, f"{place}.source.")}
    refuse(f"{place} is a {str(kind)[:60]}, which is not known here; send text or image blocks")


def _tool(tool: dict[str, Any], place: str) -> dict[str, Any]:
    if tool.get("type") not in (None, "custom"):
        refuse(f"{place} is a {str(tool['type'])[:60]}, which runs at Anthropic only; send tools with an input_schema")
    function = {
        "name": member(tool, "name", str, f"{place}."),
        "parameters": member(tool, "input_schema", dict, f"{place}."),
    }
    if tool.get("description"):
        function["description"] = tool["description"]
    return {"type": "function", "function": function}


def _tool_choice(body: dict[str, Any]) -> dict[str, Any]:
    choice = member(body, "tool_choice", dict, "", needed=False)
    if not choice:
        return {}
    made: dict[str, Any] = {"parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") else {}
    if choice.get("type") == "tool":
        name = member(choice, "name", str, "tool_choice.")
        return {**made, "tool_choice": {"type": "function", "function": {"name": name}}}
    if (kind := str(choice.get("type"))) not in _TOOL_CHOICES:
        refuse("tool_choice.type must be auto, any, none or tool")
    return {**made, "tool_choice": _TOOL_CHOICES[kind]}


def _input(arguments: str) -> Any:
    """The arguments of a tool as an object; a text that is none is handed on as it is."""
    try:
        found = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return {"arguments": arguments}
    return found if isinstance(found, dict) else {"arguments": found}


def _message(model: Any, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": new_id("msg"), "type": "message", "role": "assistant", "model": model, "content": content}


def _usage(usage: dict[str, Any]) -> dict[str, int]:
    """`usage` in Anthropic's words, in which tokens read from a cache stand beside the others."""
    details = usage.get("prompt_tokens_details") or {}
    read, written = details.get("cached_tokens", 0), details.get("cache_write_tokens", 0)
    return {
        "input_tokens": max(0, usage["prompt_tokens"] - read - written),
        "output_tokens": usage["completion_tokens"],
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
    }


def _event(made: dict[str, Any]) -> bytes:
    return f"event: {made['type']}\n".encode() + event(made)


class _MessagesWriter:
    """Writes the events of one streamed message: blocks one after the other, each begun and ended."""

    def __init__(self) -> None:
        self._begun = False
        self._block = -1
        self._open: str | None = None
        self._call: int | None = None
        self._calls: set[int] = set()
        self._reason = "stop"
        self._usage: dict[str, int] = {}

    def written(self, chunk: dict[str, Any]) -> list[dict[str, Any]]:
        """The events for one chunk of the chat."""
        made: list[dict[str, Any]] = []
        if not self._begun:
            self._begun = True
            usage = {"input_tokens": 0, "output_tokens": 0}  # known at the end only
            said = {**_message(chunk.get("model"), []), "stop_reason": None, "stop_sequence": None, "usage": usage}
            made.append({"type": "message_start", "message": said})
        if not chunk["choices"]:
            self._usage = _usage(chunk["usage"])
            return made
        choice = chunk["choices"][0]
        delta = choice.get("delta") or {}
        if text := text_of(delta.get("content")):
            if self._open != "text":
                made += self._begin("text", {"type": "text", "text": ""})
            made.append(self._delta({"type": "text_delta", "text": text}))
        for call in delta.get("tool_calls") or ():
            function = call.get("function") or {}
            if self._open != "tool_use" or self._call != call["index"]:
                if call["index"] in self._calls:
                    raise ProviderError("pieces of several tool calls came mixed", kind="bad_answer", status=502)
                self._call = call["index"]
                self._calls.add(call["index"])
                id = call.get("id") or new_id("toolu")
                block: dict[str, Any] = {"type": "tool_use", "id": id, "name": function.get("name"), "input": {}}
                made += self._begin("tool_use", block)
            if arguments := function.get("arguments"):
                made.append(self._delta({"type": "input_json_delta", "partial_json": arguments}))
        self._reason = choice.get("finish_reason") or self._reason
        return made

    def end(self) -> list[dict[str, Any]]:
        """The events that end the message."""
        delta = {"stop_reason": _STOP_REASON.get(self._reason, "end_turn"), "stop_sequence": None}
        last = {"type": "message_delta", "delta": delta, "usage": self._usage}
        return [*self._stop(), last, {"type": "message_stop"}]

    def _begin(self, kind: str, block: dict[str, Any]) -> list[dict[str, Any]]:
        made = self._stop()
        self._block, self._open = self._block + 1, kind
        return [*made, {"type": "content_block_start", "index": self._block, "content_block": block}]

    def _delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self._block, "delta": delta}

    def _stop(self) -> list[dict[str, Any]]:
        if self._open is None:
            return []
        self._open = None
        return [{"type": "content_block_stop", "index": self._block}]
