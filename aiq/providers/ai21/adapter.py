"""AI21's Jamba models: chat completions nearly as OpenAI's, at `/studio/v1`. Must never know sockets or policy.

Source: AI21's API reference ("Chat request", "Chat response"), and what its SDK sends. Different are: content is text,
JSON mode knows no schema, tools cannot be forced, and answers do not name their model.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import orjson

from aiq.config.connections import KeyConfig, Secret
from aiq.errors import ProviderError
from aiq.providers.abilities import Abilities
from aiq.providers.base import Chunk, HttpRequest, HttpResponse, StreamDecoder
from aiq.providers.openai.adapter import OpenAIAdapter
from aiq.providers.openai.stream import OpenAIStream
from aiq.providers.wire.errors import error_from_body, shorten
from aiq.providers.wire.http import kind_of_status
from aiq.providers.wire.openai_form import say_schema
from aiq.providers.wire.waiting import refusal
from aiq.providers.wire.words import is_too_long
from aiq.request import Answer, Request

ADDRESS = "https://api.ai21.com/studio/v1"

_SAME = frozenset({"max_tokens", "temperature", "top_p", "stop"})
HONOURED = _SAME | {"max_completion_tokens", "n", "tools", "tool_choice"}
"""OpenAI's parameters that have a meaning here."""
_UNKNOWN = frozenset(
    {
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "metadata", "modalities",
        "prediction", "presence_penalty", "prompt_cache_key", "reasoning_effort", "safety_identifier", "seed",
        "service_tier", "store", "top_logprobs", "user", "verbosity", "web_search_options",
    }
)  # fmt: skip
"""OpenAI's parameters that AI21 has nothing like."""
_TRANSLATED = HONOURED | {"messages", "stream", "stream_options", "response_format", "parallel_tool_calls"}
_ROLES = frozenset({"system", "user", "assistant", "tool"})
_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}

_TOO_LONG = re.compile(
    r"context (length|window|size)|too (long|many tokens)|(maximum|max|limit)[^.]{0,40} (input|prompt|context) tokens|"
    r"(prompt|input|messages?)[^.]{0,40} exceeds?",
    re.IGNORECASE,
)
_SPENT = re.compile(r"\bcredits?\b|billing|payment|\btrial\b|monthly", re.IGNORECASE)


class AI21Adapter(OpenAIAdapter):
    """Speaks to one model."""

    abilities = Abilities({"llm/v1/chat": HONOURED}, own=frozenset({"documents"}), images=False)

    def _address(self) -> str:
        config = self._entity.config
        assert isinstance(config, KeyConfig)
        base = (config.api_base or ADDRESS).rstrip("/")
        if not urlsplit(base).path:  # a host alone
            base += "/studio/v1"
        return f"{base}/chat/completions"

    def _credential(self) -> tuple[str, Secret | None]:
        config = self._entity.config
        assert isinstance(config, KeyConfig)
        return "authorization", config.api_key

    def encode(self, request: Request, *, stream: bool = False) -> HttpRequest:
        try:
            return HttpRequest(self._url, self._headers, orjson.dumps(self._chat(request.body, stream)))
        except (KeyError, TypeError, AttributeError, ValueError):
            self._refuse("takes messages, tools and response_format in OpenAI's form, and these are not")

    def _chat(self, chat: dict[str, Any], stream: bool) -> dict[str, Any]:
        messages = [self._message(message) for message in chat["messages"]]
        body: dict[str, Any] = {"model": self._entity.model, "messages": messages, "stream": stream}
        for name, value in chat.items():
            if value is None:
                continue
            if name in _UNKNOWN:
                self._refuse(f"has no parameter {name}: leave it out")
            if name in _SAME or name not in _TRANSLATED:
                body[name] = value
        if chat.get("max_completion_tokens") is not None:
            body["max_tokens"] = chat["max_completion_tokens"]
        if (chat.get("n") or 1) != 1:
            body["n"] = chat["n"]
        if chat.get("parallel_tool_calls") is False:
            self._refuse("cannot keep a model to one tool call: leave parallel_tool_calls out")
        choice = chat.get("tool_choice")
        if choice not in (None, "auto", "none"):
            self._refuse("cannot be made to call a tool: leave tool_choice out, or say auto or none")
        if chat.get("tools") and choice != "none":
            body["tools"] = [self._tool(tool) for tool in chat["tools"]]
        self._add_format(chat.get("response_format"), body)
        return body

    def _message(self, message: dict[str, Any]) -> dict[str, Any]:
        role, content = message["role"], message.get("content")
        role = "system" if role == "developer" else role
        if role not in _ROLES:
            self._refuse(f"has no messages of role '{role}'")
        if isinstance(content, list):
            content = "\n".join(self._text(part) for part in content)
        said: dict[str, Any] = {"role": role, "content": content}
        if message.get("tool_calls"):
            said["tool_calls"] = [
                {name: call[name] for name in ("id", "type", "function")} for call in message["tool_calls"]
            ]
        if role == "tool":
            said["tool_call_id"] = message["tool_call_id"]
        return said

    def _text(self, part: dict[str, Any]) -> str:
        if part["type"] != "text":
            self._refuse(f"takes text only, no content of type '{part['type']}'")
        text: str = part["text"]
        return text

    def _tool(self, tool: dict[str, Any]) -> dict[str, Any]:
        if tool.get("type") != "function":
            self._refuse(f"has no tools of type '{tool.get('type')}', only functions")
        function = tool["function"]
        described: dict[str, Any] = {"name": function["name"]}
        if function.get("description"):
            described["description"] = function["description"]
        described["parameters"] = function.get("parameters") or _NO_PARAMETERS
        return {"type": "function", "function": described}

    def _add_format(self, response_format: Any, body: dict[str, Any]) -> None:
        """JSON mode; a schema is said in the system message, because JSON mode knows none."""
        if not response_format or response_format["type"] == "text":
            return
        if response_format["type"] not in ("json_object", "json_schema"):
            self._refuse(f"has no response_format of type '{response_format['type']}'")
        schema = response_format.get("json_schema", {}).get("schema") or {}
        if schema.get("type", "object") == "object":  # JSON mode gives objects only
            body["response_format"] = {"type": "json_object"}
        if schema:
            say_schema(body["messages"], schema)

    def _stream(self, request: Request, response: HttpResponse) -> StreamDecoder:
        return AI21Stream(self, request, response, self._entity.model, int(self._clock()))

    def _is_error(self, data: Any) -> bool:
        return isinstance(data, dict) and "choices" not in data and super()._is_error(data)

    def answer(self, request: Request, data: Any, response: HttpResponse) -> Answer:
        if isinstance(data, dict):  # what OpenAI's answers have and these have not
            named = {"object": "chat.completion", "created": int(self._clock()), "model": self._entity.model}
            data = {**data, **named}
            response = response._replace(body=orjson.dumps(data))
        return super().answer(request, data, response)

    def error(self, response: HttpResponse) -> ProviderError:
        """What a response that is an error means: `detail` is a text, or a list of what is wrong and where."""
        status, body = response.status, self._body(response)
        try:
            detail = orjson.loads(response.body).get("detail")
        except (ValueError, AttributeError):
            detail = None
        if status == 200:  # in a stream, or with the wrong status: as bad as a failure of theirs
            status = 502
        words = _words(detail) or error_from_body(status, body)
        if 300 <= status < 400:
            words = f"HTTP {status}: the provider redirects, and a redirect is never followed with a credential"
        kind = kind_of_status(status)
        if status in (403, 429) and _SPENT.search(words):
            kind = "quota_exhausted"
        elif status in (400, 413, 422) and (_TOO_LONG.search(words) or is_too_long(words)):
            kind = "context_length"
        message = shorten(self._redact(words))
        return refusal(message, kind=kind, status=status, response=response, body=body)


class AI21Stream(OpenAIStream):
    """Chunks as OpenAI's, but for what they do not say of themselves; an error is told by its detail."""

    def __init__(
        self, adapter: AI21Adapter, request: Request, response: HttpResponse, model: str, created: int
    ) -> None:
        super().__init__(adapter, request, response)
        self._named = {"object": "chat.completion.chunk", "created": created, "model": model}

    def _is_error(self, data: Any) -> bool:
        return super()._is_error(data) or ("choices" not in data and bool(data.get("detail")))

    def _read(self, event: bytes) -> Chunk | None:
        chunk = super()._read(event)
        if chunk is not None:
            chunk.data.update(self._named)
        return chunk


def _words(detail: Any) -> str:
    """FastAPI's details: `body.messages.0.role: unexpected value`."""
    if isinstance(detail, str):
        return detail
    parts = []
    for each in detail if isinstance(detail, list) else ():
        if isinstance(each, dict) and isinstance(each.get("msg"), str):
            place = each.get("loc")
            steps = ".".join(map(str, place)) if isinstance(place, list) else ""
            parts.append(f"{steps}: {each['msg']}" if steps else each["msg"])
    return "; ".join(parts)
