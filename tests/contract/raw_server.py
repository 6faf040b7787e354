"""A server on 127.0.0.1 that answers byte for byte what a test says, to whichever request carries the test's mark.

The vendors' forms of one answer, whole and as the events of a stream, are built here; what they say is the test's.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from aiq.simulator.vendors.event_stream import event

MARK = re.compile(rb"case-\d{4}")


class Raw(NamedTuple):
    """One response. `length` is what content-length says, where that is not what is sent."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    length: int | None = None


class RawServer:
    """Serves responses by the mark in the request's body. `asked` are the marks that came, in order."""

    def __init__(self, answer: Callable[[str, bytes, str], Raw]) -> None:
        """`answer(mark, body, path)`; the mark is empty where there is none."""
        self.asked: list[str] = []
        self.bodies: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                found = MARK.search(body)
                mark = found[0].decode() if found else ""
                outer.asked.append(mark)
                outer.bodies.append(body)
                raw = answer(mark, body, self.path)
                self.send_response(raw.status)
                for name, value in raw.headers:
                    self.send_header(name, value)
                self.send_header("content-length", str(len(raw.body) if raw.length is None else raw.length))
                self.end_headers()
                self.wfile.write(raw.body)
                if raw.length is not None:
                    self.close_connection = True

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


Case = dict[str, Any]
OPENAI_FORM = ("custom", "openai", "databricks-model-serving", "ai21labs")
TEXT = "Whole."


def whole(adapter: str, case: Case) -> dict[str, Any]:
    """The body of a usual answer in a vendor's form, changed as a case says.

    `content` is the content or the list of its parts, `finish` the reason, `usage` the usage; `message`, `choice` and
    `top` are merged into the message, its choice, and the whole.
    """
    top, finish, content = case.get("top", {}), case.get("finish", _FINISH[adapter]), case.get("content", TEXT)
    usage = case.get("usage", _USAGE[adapter])
    if adapter in OPENAI_FORM:
        message = {"role": "assistant", "content": content, **case.get("message", {})}
        choice = {"index": 0, "message": message, "finish_reason": finish, **case.get("choice", {})}
        return {"id": "c", "model": "m", "choices": [choice], "usage": usage, **top}
    if adapter == "responses":
        parts = [{"type": "output_text", "text": content}] if isinstance(content, str) else content
        output = [{"type": "message", "role": "assistant", "content": parts}]
        return {
            "id": "r",
            "object": "response",
            "status": finish,
            "model": "m",
            "output": output,
            "usage": usage,
            **top,
        }
    if adapter == "anthropic":
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        start = {"id": "a", "type": "message", "role": "assistant", "model": "m"}
        return {**start, "content": parts, "stop_reason": finish, "usage": usage, **top}
    if adapter == "palm":
        parts = [{"text": content}] if isinstance(content, str) else content
        candidate = {"index": 0, "content": {"role": "model", "parts": parts}, "finishReason": finish}
        return {"candidates": [{**candidate, **case.get("choice", {})}], "usageMetadata": usage, **top}
    if adapter == "amazon-bedrock":
        parts = [{"text": content}] if isinstance(content, str) else content
        output = {"message": {"role": "assistant", "content": parts}}
        return {"output": output, "stopReason": finish, "usage": usage, **top}
    if adapter == "cohere":
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        message = {"role": "assistant", "content": parts, **case.get("message", {})}
        return {"id": "o", "finish_reason": finish, "message": message, "usage": usage, **top}
    raise AssertionError(adapter)


_FINISH = {**dict.fromkeys(OPENAI_FORM, "stop"), "responses": "completed", "anthropic": "end_turn", "palm": "STOP",
           "amazon-bedrock": "end_turn", "cohere": "COMPLETE"}  # fmt: skip
_USAGE: dict[str, Any] = {
    **{name: {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12} for name in OPENAI_FORM},
    "responses": {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12},
    "anthropic": {"input_tokens": 9, "output_tokens": 3},
    "palm": {"promptTokenCount": 9, "candidatesTokenCount": 3, "totalTokenCount": 12},
    "amazon-bedrock": {"inputTokens": 9, "outputTokens": 3, "totalTokens": 12},
    "cohere": {"billed_units": {"input_tokens": 9, "output_tokens": 3}},
}


def streamed(adapter: str, body: dict[str, Any]) -> Raw:
    """The same answer as the vendor would stream it."""
    if adapter == "amazon-bedrock":
        pieces = b"".join(event(name, json.dumps(data).encode()) for name, data in _converse(body))
        return Raw(pieces, headers=(("content-type", "application/vnd.amazon.eventstream"),))
    events = _STREAMS.get(adapter, _chunks)(body)
    return sse([*events, *(["[DONE]"] if adapter in OPENAI_FORM else [])])


def sse(events: list[Any]) -> Raw:
    """Server-sent events: a text is sent as it is, `event: x` and the like as their own lines, all else as JSON."""
    lines = []
    for each in events:
        text = each if isinstance(each, str) else json.dumps(each)
        lines.append(f"{text}\n\n" if text.startswith(("event:", ":", "id:", "data:")) else f"data: {text}\n\n")
    return Raw("".join(lines).encode("utf-8", "surrogatepass"), headers=(("content-type", "text/event-stream"),))


def _chunks(body: dict[str, Any]) -> list[Any]:
    """OpenAI's chunks: the message in one, then its reason, then the usage."""
    choices = body.pop("choices")
    usage = body.pop("usage", None)
    first, last = [], []
    for choice in choices:
        message = choice.pop("message")
        calls = [{"index": index, **call} for index, call in enumerate(message.pop("tool_calls", None) or ())]
        delta = {**message, **({"tool_calls": calls} if calls else {})}
        first.append({"index": choice["index"], "delta": delta, "finish_reason": None})
        last.append({"delta": {}, **choice})
    return [{**body, "choices": first}, {**body, "choices": last}, {**body, "choices": [], "usage": usage}]


def _responses(body: dict[str, Any]) -> list[Any]:
    last = {"incomplete": "response.incomplete", "failed": "response.failed"}.get(body["status"], "response.completed")
    items = [{"type": "response.output_item.done", "item": item} for item in body["output"]]
    return [{"type": "response.created", "response": {"id": "r"}}, *items, {"type": last, "response": body}]


def _messages(body: dict[str, Any]) -> list[Any]:
    usage = body.get("usage")
    said: list[Any] = [{"type": "message_start", "message": {**body, "content": [], "stop_reason": None}}]
    for index, block in enumerate(body["content"]):
        kind = block["type"]
        empty = {**block, kind: ""} if kind in ("text", "thinking") else block
        said.append({"type": "content_block_start", "index": index, "content_block": empty})
        if kind in ("text", "thinking"):
            delta = {"type": f"{kind}_delta", kind: block[kind]}
            said.append({"type": "content_block_delta", "index": index, "delta": delta})
        said.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": body["stop_reason"], "stop_details": body.get("stop_details")}
    return [*said, {"type": "message_delta", "delta": end, "usage": usage}, {"type": "message_stop"}]


def _cohere(body: dict[str, Any]) -> list[Any]:
    said: list[Any] = [{"type": "message-start", "id": "o"}]
    for index, part in enumerate(body["message"]["content"]):
        start = {"type": "content-start", "index": index, "delta": {"message": {"content": part}}}
        said += [start, {"type": "content-end", "index": index}]
    delta = {"finish_reason": body["finish_reason"], "usage": body["usage"], "error": body.get("error")}
    return [*said, {"type": "message-end", "delta": delta}]


def _converse(body: dict[str, Any]) -> list[tuple[str, Any]]:
    said: list[tuple[str, Any]] = [("messageStart", {"role": "assistant"})]
    for index, block in enumerate(body["output"]["message"]["content"]):
        delta = block
        if "reasoningContent" in block:
            delta = {"reasoningContent": block["reasoningContent"]["reasoningText"]}
        if "toolUse" in block:
            used = block["toolUse"]
            said.append(
                ("contentBlockStart", {"contentBlockIndex": index, "start": {"toolUse": {**used, "input": ""}}})
            )
            delta = {"toolUse": {"input": json.dumps(used["input"])}}
        said += [("contentBlockDelta", {"contentBlockIndex": index, "delta": delta}),
                 ("contentBlockStop", {"contentBlockIndex": index})]  # fmt: skip
    terms = {name: body[name] for name in ("serviceTier", "performanceConfig") if name in body}
    return [*said, ("messageStop", {"stopReason": body["stopReason"]}), ("metadata", {"usage": body["usage"], **terms})]


_STREAMS: dict[str, Callable[[dict[str, Any]], list[Any]]] = {
    "responses": _responses,
    "anthropic": _messages,
    "palm": lambda body: [body],
    "cohere": _cohere,
}
