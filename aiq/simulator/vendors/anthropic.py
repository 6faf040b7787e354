"""Anthropic: the Messages API and its count of tokens, under `/v1/messages`.

Source: the Claude API reference ("Create a Message", "Errors", "Rate limits", "Versions", "Prompt caching").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from aiq.simulator.exchange import Said, Tool, VendorCall, VendorRequest, VendorRoute
from aiq.simulator.limits import ThreeBuckets
from aiq.simulator.refusal import VendorError
from aiq.simulator.tokens import chat_tokens, tool_tokens
from aiq.simulator.vendors import anthropic_format
from aiq.simulator.vendors.anthropic_checks import SAMPLING, check_body, refuse
from aiq.simulator.vendors.base import Base, Keys, bearer, event, only

_ROUTES = {b"/v1/messages": VendorRoute("chat"), b"/v1/messages/count_tokens": VendorRoute("page")}
_VERSIONS = frozenset({b"2023-01-01", b"2023-06-01", b"2026-10-21"})
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_WORDS = {
    "401": (401, "invalid x-api-key", None),
    "402": (402, "Your credit balance is too low to access the Claude API.", None),
    "403": (403, "Your API key does not have permission to use the specified resource.", None),
    "404": (404, "model: the model does not exist", None),
    "500": (500, "Internal server error", None),
    "504": (504, "The request timed out while processing.", None),
    "529": (529, "Overloaded", None),
    "context-length": (400, "prompt is too long: 210000 tokens > 200000 maximum", None),
    "content-filter": (400, "Output blocked by content filtering policy", None),
    "quota-exhausted": (
        429,
        "Your organization has crossed the monthly API usage threshold of its tier.",
        "enforced_spend_limit_reached",
    ),
}
MAX_BODY_BYTES = 32 * 1024 * 1024


class Anthropic(Base):
    """Anthropic's own platform."""

    name = "anthropic"
    bases = (("Anthropic", ""),)
    limits = ThreeBuckets
    not_json = "The request body is not valid JSON."
    broken_event = b'event: content_block_delta\ndata: {"type": "content_block_del\n\n'

    def route(self, method: bytes, path: bytes, query: bytes) -> VendorRoute | None:
        """Two paths, of which one asks no model."""
        route = _ROUTES.get(path)
        if route is not None:
            only(method, b"POST", path)
        return route

    def authenticate(self, call: VendorCall, route: VendorRoute, keys: Keys, now_s: float) -> str:
        """A key in `x-api-key`, or as a bearer token since the version of 2026-10-21, which takes no temperature."""
        key = call.headers.get(b"x-api-key", b"").decode("latin-1") or bearer(call.headers)
        if not key:
            raise VendorError(401, "x-api-key header is required")
        if not keys.accepts(key):
            raise VendorError(401, "invalid x-api-key")
        version = call.headers.get(b"anthropic-version")
        if version is None:
            raise VendorError(400, "anthropic-version: header is required")
        if version not in _VERSIONS:
            raise VendorError(400, f'anthropic-version: "{version.decode("latin-1")}" is not a valid version')
        if len(call.body) > MAX_BODY_BYTES:
            raise VendorError(413, "Request exceeds the maximum size")
        if version == b"2026-10-21" and any(b'"%b"' % name.encode() in call.body for name in SAMPLING):
            _check_sampling(call.body)
        return key

    def page(self, call: VendorCall, route: VendorRoute, now_s: float) -> bytes:
        """`count_tokens`."""
        try:
            body = orjson.loads(call.body)
        except orjson.JSONDecodeError:
            raise VendorError(400, self.not_json) from None
        if not isinstance(body, dict):
            raise VendorError(400, "Input should be an object")
        asked = self.read({**body, "max_tokens": 1}, VendorRoute("chat"))
        return orjson.dumps({"input_tokens": asked.prompt_tokens})

    def read(self, body: dict[str, Any], route: VendorRoute) -> VendorRequest:
        """A message."""
        check_body(body)
        messages, cacheable = _openai_messages(body)
        asked = VendorRequest("chat", body["model"], body, chat_tokens(messages), messages=messages, route=route)
        tools = [tool for tool in body.get("tools") or () if "input_schema" in tool]
        choice = body.get("tool_choice") or {"type": "auto"}
        if tools:
            asked.tools = [Tool(tool["name"], tool["input_schema"]) for tool in tools]
            asked.tool_choice = choice.get("name") or {"any": "required"}.get(choice["type"], choice["type"])
            asked.parallel = not choice.get("disable_parallel_tool_use")
            asked.prompt_tokens += tool_tokens(asked.tools)
        config = body.get("output_config") or {}
        if config.get("format"):
            asked.schema = config["format"]["schema"]
        thinks = (body.get("thinking") or {"type": "disabled"})["type"] != "disabled"
        asked.effort = (config.get("effort") or "medium") if thinks else "none"
        asked.limit, asked.stop = body["max_tokens"], body.get("stop_sequences") or ()
        asked.sampling = tuple(body.get(name) for name in SAMPLING)
        asked.stream, asked.reserve = bool(body.get("stream")), asked.prompt_tokens
        asked.cacheable, asked.kept_1h = cacheable, _is_kept_1h(body)
        return asked

    def full_body(self, asked: VendorRequest, said: Said) -> dict[str, Any]:
        """A `message`."""
        return anthropic_format.message(asked, said)

    def stream(self, asked: VendorRequest, said: Said) -> list[bytes]:
        """Its named events."""
        return list(anthropic_format.stream(asked, said))

    def refusal(self, fault: str) -> VendorError | None:
        """Anthropic's words."""
        if fault not in _WORDS:
            return None
        status, message, code = _WORDS[fault]
        return VendorError(status, message, details={"error_code": code} if code else None)

    def refused(self, refusal: VendorError, route: VendorRoute | None, number: int) -> tuple[bytes, bytes]:
        """`{"type": "error", "error": {"type", "message"}, "request_id"}`, the type by the status."""
        kind = _TYPES.get(refusal.status, "invalid_request_error" if refusal.status < 500 else "api_error")
        if refusal.kind == "overloaded_error":
            kind = refusal.kind
        error: dict[str, Any] = {"type": kind, "message": refusal.message}
        if "error_code" in refusal.details:
            error["details"] = {"error_code": refusal.details["error_code"]}
        body = {"type": "error", "error": error, "request_id": _request_id(number)}
        return orjson.dumps(body), _lines(number)

    def hint(self, seconds: float) -> bytes:
        """`retry-after`, in whole seconds only."""
        return b"retry-after: %d\r\n" % -(-seconds // 1)

    def error_event(self, refusal: VendorError) -> bytes:
        """An event `error`."""
        return event(orjson.loads(self.refused(refusal, None, 0)[0]), "error")

    def headers(self, route: VendorRoute, number: int, delay_s: float) -> bytes:
        """Which request it was."""
        return _lines(number)


def _request_id(number: int) -> str:
    return f"req_sim{number:012d}"


def _lines(number: int) -> bytes:
    return b"request-id: %b\r\nanthropic-organization-id: simulated\r\n" % _request_id(number).encode()


def _check_sampling(text: bytes) -> None:
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        return
    for name in SAMPLING:
        if isinstance(body, dict) and name in body:
            refuse(name, "this parameter is not supported in API version 2026-10-21")


def _openai_messages(body: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """A checked body's messages as the simulated model reads them, and the beginning that is to be cached.

    That is all text up to the last block with `cache_control`; all of it, with one for the whole request.
    """
    messages: list[dict[str, Any]] = []
    texts: list[str] = []
    cached_to = 0
    system = body.get("system")
    if system:
        first: list[dict[str, Any]] = [{"type": "text", "text": system}] if isinstance(system, str) else system
        texts += [block["text"] for block in first]
        cached_to = max((i + 1 for i, block in enumerate(first) if block.get("cache_control")), default=0)
        messages.append({"role": "system", "content": "\n".join(texts)})
    for message in body["messages"]:
        role, content = message["role"], message["content"]
        blocks: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
        parts: list[dict[str, Any]] = []
        calls: list[dict[str, Any]] = []
        for block in blocks:
            text = _text_of(block)
            texts.append(text)
            if block.get("cache_control"):
                cached_to = len(texts)
            if block["type"] == "tool_result":
                messages.append({"role": "tool", "tool_call_id": block["tool_use_id"], "content": text})
            elif block["type"] == "tool_use":
                call = {"name": block["name"], "arguments": orjson.dumps(block["input"]).decode()}
                calls.append({"id": block["id"], "type": "function", "function": call})
            elif block["type"] == "image":
                source = block["source"]
                url = source.get("url") or f"data:{source.get('media_type')};base64,{source.get('data', '')}"
                parts.append({"type": "image_url", "image_url": {"url": url}})
            elif block["type"] not in ("thinking", "redacted_thinking"):
                parts.append({"type": "text", "text": text})
        if parts or calls or not blocks:
            plain = parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts
            said: dict[str, Any] = {"role": role, "content": plain or ""}
            messages.append({**said, "tool_calls": calls} if calls else said)
    if body.get("cache_control"):
        cached_to = len(texts)
    return messages, "\0".join(texts[:cached_to])


def _is_kept_1h(body: Mapping[str, Any]) -> bool:
    """Whether the last block that is to be cached is so for an hour."""
    turns = [body.get("system"), *(message["content"] for message in body["messages"])]
    blocks = [block for turn in turns if isinstance(turn, list) for block in turn]
    marks = [block["cache_control"] for block in (*blocks, body) if block.get("cache_control")]
    return bool(marks) and marks[-1].get("ttl") == "1h"


def _text_of(block: Mapping[str, Any]) -> str:
    if block["type"] == "tool_result":
        content: Any = block.get("content") or ""
        return content if isinstance(content, str) else "\n".join(str(part.get("text", "")) for part in content)
    text = block.get("text") or block.get("title") or ""
    return str(text)
