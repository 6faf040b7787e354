"""OpenAI's Responses API in front of a chat: Codex, openai-agents and ChatDatabricks speak it.

Nothing is kept between requests, so what refers to a kept response is refused. Agents get what is theirs
(`custom_inputs`, `context`) and give back their own items and `custom_outputs`.
Source: the OpenAI API reference, "Responses" and "Streaming events"; which events clients need: docs/serve.md.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from aiq.request import AGENTS_ITEM, AGENTS_OWN, new_request_id
from aiq.serve.http import event
from aiq.serve.refusals import Refusal, refuse
from aiq.serve.shapes import member, objects, only_choice, text_of

_REFUSED = {
    "previous_response_id": "responses are not kept; send the whole conversation as input",
    "conversation": "conversations are not kept; send them as input",
    "background": "answers are not kept; ask without it",
    "prompt": "prompt templates are OpenAI's own; send instructions and input",
}
_DROPPED = ("include", "max_tool_calls", "stream_options", "store", "truncation", "client_metadata", "generate")
_TOOL_CHOICES = ("auto", "none", "required")


class Responses:
    """The shape of `POST /responses`."""

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        """One body as a chat: `{"input": "hi"}` becomes `{"messages": [{"role": "user", "content": "hi"}]}`."""
        given = {name: value for name, value in body.items() if value is not None}
        for name, why in _REFUSED.items():
            if given.pop(name, None):
                refuse(f"{name} cannot be honoured: {why}")
        if given.get("store") is True:
            refuse("store: true cannot be honoured: responses are not kept")
        if given.get("truncation", "disabled") != "disabled":
            refuse("truncation: auto cannot be honoured; leave it out")
        for name in _DROPPED:
            given.pop(name, None)
        messages: list[dict[str, Any]] = []
        if instructions := given.pop("instructions", None):
            if not isinstance(instructions, str):
                refuse("instructions must be a text")
            messages.append({"role": "system", "content": instructions})
        asked = given.pop("input", None)
        if isinstance(asked, str):
            messages.append({"role": "user", "content": asked})
        else:
            if not asked:
                refuse("input must be a text or a list of items")
            for at, item in enumerate(objects(asked, "input")):
                _add(messages, item, f"input[{at}]")
        made: dict[str, Any] = {"messages": messages}
        _shape_of_text(given, made)
        if "max_output_tokens" in given:
            made["max_tokens"] = given.pop("max_output_tokens")
        reasoning = member(given, "reasoning", dict, "", needed=False) or {}
        given.pop("reasoning", None)
        if reasoning.get("effort") is not None:
            made["reasoning_effort"] = reasoning["effort"]
        if given.get("top_logprobs"):
            made["logprobs"] = True
        if tools := given.pop("tools", None):
            made["tools"] = [_tool(tool, f"tools[{at}]") for at, tool in enumerate(objects(tools, "tools"))]
        choice = given.pop("tool_choice", None)
        if choice is not None and (made.get("tools") or choice not in ("auto", "none")):
            made["tool_choice"] = _tool_choice(choice)
        return {**given, **made}

    def reply(self, completion: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        message, reason = only_choice(completion)
        head = _Head(completion, body)
        items = completion.get("output")
        if not isinstance(items, list):  # an agent's own items are better than ours
            items = []
            if (content := message.get("content")) is not None or not message.get("tool_calls"):
                items.append(_message(new_id("msg"), text_of(content), message.get("annotations")))
            items += [_call(new_id("fc"), call) for call in message.get("tool_calls") or ()]
        own = {name: completion[name] for name in AGENTS_OWN if name in completion}
        return {**head.response(reason, items, completion.get("usage")), **own}

    async def events(self, chunks: AsyncIterator[dict[str, Any]], body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        writer: _ResponsesWriter | None = None
        async for chunk in chunks:
            if writer is None:
                writer = _ResponsesWriter(_Head(chunk, body))
                for made in writer.begin():
                    yield event(made)
            for made in writer.written(chunk):
                yield event(made)
        if writer is not None:
            for made in writer.end():
                yield event(made)
        yield b"data: [DONE]\n\n"

    def broken(self, refused: Refusal) -> bytes:
        error = {"code": refused.code, "message": refused.message}
        failed = {"id": new_id("resp"), "object": "response", "status": "failed", "output": [], "error": error}
        return event({"type": "response.failed", "response": failed}) + event(refused.event)

    def error(self, refused: Refusal) -> dict[str, Any]:
        return dict(refused.body)


RESPONSES = Responses()


def new_id(kind: str) -> str:
    """An id as OpenAI writes them: `msg_` and 32 digits."""
    return f"{kind}_{new_request_id().replace('-', '')}"


def _add(messages: list[dict[str, Any]], item: dict[str, Any], place: str) -> None:
    """Adds one input item to the messages of a chat."""
    kind = item.get("type", "message")
    if kind == "message":
        role = member(item, "role", str, f"{place}.")
        messages.append({"role": role, "content": _content(item.get("content"), f"{place}.content")})
    elif kind == "function_call":
        names = {name: member(item, name, str, f"{place}.") for name in ("call_id", "name", "arguments")}
        function = {"name": names["name"], "arguments": names["arguments"]}
        call = {"id": names["call_id"], "type": "function", "function": function}
        if not messages or messages[-1]["role"] != "assistant":
            messages.append({"role": "assistant", "content": None})
        messages[-1].setdefault("tool_calls", []).append(call)
    elif kind == "function_call_output":
        output = item.get("output")
        content = output if isinstance(output, str) else text_of(_content(output, f"{place}.output"))
        messages.append({"role": "tool", "tool_call_id": member(item, "call_id", str, f"{place}."), "content": content})
    elif kind != "reasoning":  # what a model thought is not said again
        refuse(
            f"{place} is a {str(kind)[:60]}, which a chat cannot hold; send messages, function calls and their outputs"
        )


def _content(content: Any, place: str) -> Any:
    if isinstance(content, str) or content is None:
        return content
    return [_part(part, f"{place}[{at}]") for at, part in enumerate(objects(content, place))]


def _part(part: dict[str, Any], place: str) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text"):
        return {"type": "text", "text": member(part, "text", str, f"{place}.")}
    if kind == "refusal":
        return {"type": "text", "text": member(part, "refusal", str, f"{place}.")}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        image = {"url": part["image_url"]}
        if part.get("detail") not in (None, "auto"):
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    refuse(f"{place} is a {str(kind)[:60]}, which is not known here; send input_text, or input_image with image_url")


def _shape_of_text(given: dict[str, Any], made: dict[str, Any]) -> None:
    text = member(given, "text", dict, "", needed=False)
    given.pop("text", None)
    if not text:
        return
    form = member(text, "format", dict, "text.", needed=False)
    if form and form.get("type") == "json_schema":
        parts = {name: form[name] for name in ("name", "schema", "strict", "description") if form.get(name) is not None}
        made["response_format"] = {"type": "json_schema", "json_schema": parts}
    elif form and form.get("type") != "text":
        made["response_format"] = form
    if text.get("verbosity") is not None:
        made["verbosity"] = text["verbosity"]


def _tool(tool: dict[str, Any], place: str) -> dict[str, Any]:
    if tool.get("type") != "function":
        refuse(f"{place} is a {str(tool.get('type'))[:60]}, which runs at OpenAI only; send tools of type function")
    if isinstance(tool.get("function"), dict):
        return tool
    names = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {name: tool[name] for name in names if tool.get(name) is not None}}


def _tool_choice(choice: Any) -> Any:
    if choice in _TOOL_CHOICES:
        return choice
    if isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("name"), str):
        return {"type": "function", "function": {"name": choice["name"]}}
    refuse("tool_choice must be auto, none, required or {type: function, name}")


class _Head:
    """What each response object of one answer says of itself."""

    def __init__(self, data: dict[str, Any], body: dict[str, Any]) -> None:
        self._model, self._created = data.get("model") or body.get("model"), data.get("created")
        self._id, self._body = new_id("resp"), body

    def response(self, reason: str | None, items: list[Any], usage: dict[str, Any] | None) -> dict[str, Any]:
        """A response object; `reason` is the chat's finish reason, None while it goes on."""
        cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reason or "")
        body = self._body
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created or int(time.time()),
            "status": "in_progress" if reason is None else "incomplete" if cut else "completed",
            "error": None,
            "incomplete_details": {"reason": cut} if cut else None,
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"),
            "metadata": body.get("metadata") or {},
            "model": self._model,
            "output": items,
            "parallel_tool_calls": body.get("parallel_tool_calls", True),
            "previous_response_id": None,
            "store": False,
            "temperature": body.get("temperature"),
            "text": body.get("text") or {"format": {"type": "text"}},
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": body.get("tools") or [],
            "top_p": body.get("top_p"),
            "truncation": "disabled",
            "usage": None if usage is None else _usage(usage),
        }


def _usage(usage: dict[str, Any]) -> dict[str, Any]:
    """`usage` in the words of the Responses API."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    reasoned = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens", 0)
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": reasoned},
        "total_tokens": usage["total_tokens"],
    }


def _message(id: str, text: str, annotations: Any = None, status: str = "completed") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": annotations or [], "logprobs": []}
    return {"id": id, "type": "message", "role": "assistant", "status": status, "content": [part]}


def _call(id: str, call: dict[str, Any], status: str = "completed") -> dict[str, Any]:
    function = call["function"]
    return {
        "id": id,
        "type": "function_call",
        "status": status,
        "call_id": call["id"],
        "name": function["name"],
        "arguments": function["arguments"],
    }


class _ResponsesWriter:
    """Writes the events of one streamed response, in the order that OpenAI's helper follows."""

    def __init__(self, head: _Head) -> None:
        self._head = head
        self._number = 0
        self._items: list[dict[str, Any]] = []
        self._open: dict[int, list[str]] = {}  # by place, what was written of items that go on
        self._message: int | None = None
        self._calls: dict[int, int] = {}
        self._reason = "stop"
        self._last: dict[str, Any] = {}

    def begin(self) -> list[dict[str, Any]]:
        response = self._head.response(None, [], None)
        return [self._event(f"response.{name}", response=response) for name in ("created", "in_progress")]

    def written(self, chunk: dict[str, Any]) -> list[dict[str, Any]]:
        """The events for one chunk of the chat."""
        if (item := chunk.get(AGENTS_ITEM)) is not None:
            return self._agents(item)
        if not chunk["choices"]:
            self._last = chunk
            return []
        choice = chunk["choices"][0]
        delta = choice.get("delta") or {}
        made = []
        if text := text_of(delta.get("content")):
            if self._message is None:
                self._message = len(self._items)
                item = {**_message(new_id("msg"), "", status="in_progress"), "content": []}
                part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
                made.append(self._added(item))
                made.append(self._of_text(self._message, "response.content_part.added", part=part))
            self._open[self._message].append(text)
            made.append(self._of_text(self._message, "response.output_text.delta", delta=text, logprobs=[]))
        for call in delta.get("tool_calls") or ():
            made += self._called(call)
        self._reason = choice.get("finish_reason") or self._reason
        return made

    def _agents(self, item: dict[str, Any]) -> list[dict[str, Any]]:
        """The events of a finished item of an agent. What it says after it is another message."""
        made = [] if self._message is None else self._done(self._message)
        self._message = None
        item = item if item.get("id") else {**item, "id": new_id("item")}
        made.append(self._added(item))
        del self._open[len(self._items) - 1]
        return [*made, self._event("response.output_item.done", output_index=len(self._items) - 1, item=item)]

    def _called(self, call: dict[str, Any]) -> list[dict[str, Any]]:
        made, function = [], call.get("function") or {}
        at = self._calls.get(call["index"])
        if at is None:
            at = self._calls[call["index"]] = len(self._items)
            named = {
                "id": call.get("id") or new_id("call"),
                "function": {"name": function.get("name"), "arguments": ""},
            }
            made.append(self._added(_call(new_id("fc"), named, "in_progress")))
        if pieces := function.get("arguments"):
            self._open[at].append(pieces)
            item = self._items[at]["id"]
            kind = "response.function_call_arguments.delta"
            made.append(self._event(kind, item_id=item, output_index=at, delta=pieces))
        return made

    def end(self) -> list[dict[str, Any]]:
        """The events that finish every item, and the whole response."""
        made = [event for at in list(self._open) for event in self._done(at)]
        response = self._head.response(self._reason, self._items, self._last.get("usage"))
        response |= {name: self._last[name] for name in AGENTS_OWN if name in self._last}
        kind = "response.incomplete" if response["status"] == "incomplete" else "response.completed"
        return [*made, self._event(kind, response=response)]

    def _done(self, at: int) -> list[dict[str, Any]]:
        """The events that finish an item."""
        item, written = self._items[at], "".join(self._open.pop(at))
        if item["type"] == "message":
            item.update(_message(item["id"], written))
            made = [
                self._of_text(at, "response.output_text.done", text=written, logprobs=[]),
                self._of_text(at, "response.content_part.done", part=item["content"][0]),
            ]
        else:
            item.update(arguments=written, status="completed")
            kind, named = "response.function_call_arguments.done", {"name": item["name"], "arguments": written}
            made = [self._event(kind, item_id=item["id"], output_index=at, **named)]
        return [*made, self._event("response.output_item.done", output_index=at, item=item)]

    def _added(self, item: dict[str, Any]) -> dict[str, Any]:
        self._open[len(self._items)] = []
        self._items.append(item)
        return self._event("response.output_item.added", output_index=len(self._items) - 1, item={**item})

    def _of_text(self, at: int, kind: str, **members: Any) -> dict[str, Any]:
        return self._event(kind, item_id=self._items[at]["id"], output_index=at, content_index=0, **members)

    def _event(self, kind: str, **members: Any) -> dict[str, Any]:
        self._number += 1
        return {"type": kind, "sequence_number": self._number - 1, **members}
