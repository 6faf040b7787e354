"""OpenAI's Responses API, and agents that speak it (`agent/v1/responses`). Must never know sockets, clocks or policy.

Source: the OpenAI API reference, "Responses"; MLflow's ResponsesAgent, which Databricks serves agents with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from aiq.config.endpoint import ServedEntity
from aiq.errors import ErrorKind, ProviderError
from aiq.providers.abilities import Abilities
from aiq.providers.base import HttpRequest, HttpResponse, StreamDecoder
from aiq.providers.openai.adapter import OpenAIAdapter
from aiq.providers.openai.responses_stream import ResponsesStream
from aiq.providers.wire.errors import shorten
from aiq.providers.wire.openai_form import completion, tool_call
from aiq.providers.wire.usage import known_or_estimated, stated_usage
from aiq.providers.wire.wholeness import OPENAI_REASON, check_end, check_said, end_of
from aiq.request import Answer, Request

_SAME: tuple[str, ...] = (
    "temperature", "top_p", "parallel_tool_calls", "user", "metadata", "service_tier", "safety_identifier",
    "prompt_cache_key", "store", "top_logprobs",
)  # fmt: skip
_HONOURED = frozenset(_SAME) | {
    "max_tokens", "max_completion_tokens", "n", "reasoning_effort", "verbosity", "tools", "tool_choice",
}  # fmt: skip
_TRANSLATED = _HONOURED | {"messages", "response_format", "stream", "stream_options"}
_KIND_OF_CODE: dict[str, ErrorKind] = {
    "rate_limit_exceeded": "rate_limited",
    "insufficient_quota": "quota_exhausted",
    "server_error": "overloaded",
    "vector_store_timeout": "overloaded",
    "context_length_exceeded": "context_length",
    "invalid_prompt": "content_filter",
}


class ResponsesAdapter(OpenAIAdapter):
    """Speaks to one served entity whose chat goes over the Responses API."""

    abilities = Abilities({"llm/v1/chat": _HONOURED}, own=frozenset({"include", "truncation", "max_tool_calls"}))

    def __init__(self, entity: ServedEntity, clock: Callable[[], float]) -> None:
        super().__init__(entity, clock)
        path, mark, query = self._url.partition("?")
        self.address = self._url = f"{path.removesuffix('/chat/completions')}/responses{mark}{query}"

    def encode(self, request: Request, *, stream: bool = False) -> HttpRequest:
        body = responses_body(request.body)
        if has_recording(body):
            self._refuse("takes no recordings over the Responses API; leave responses out of aiq of the served entity")
        if self._model is not None:
            body = {"model": self._model, **body}
        body.setdefault("store", False)  # else OpenAI keeps what was said for 30 days
        if stream:
            body["stream"] = True
        return HttpRequest(self._url, self._headers, orjson.dumps(body))

    def _stream(self, request: Request, response: HttpResponse) -> StreamDecoder:
        return ResponsesStream(self, request, response)

    def _is_error(self, data: Any) -> bool:
        return super()._is_error(data) and "output" not in data  # a response that failed has both

    def _completion(self, request: Request, data: dict[str, Any], raw: str) -> Answer:
        return responses_answer(request, data, raw, self._entity.model, self._redact, self._recorded)


def responses_body(chat: dict[str, Any]) -> dict[str, Any]:
    """The body of `POST /responses` for a chat in the older form. What it does not know goes over as it is."""
    body: dict[str, Any] = {"input": [item for message in chat["messages"] for item in _items(message)]}
    for name, value in chat.items():
        if name in _SAME or name not in _TRANSLATED:
            body[name] = value
    most = chat.get("max_completion_tokens", chat.get("max_tokens"))
    if most is not None:
        body["max_output_tokens"] = most
    if "reasoning_effort" in chat:
        body["reasoning"] = {"effort": chat["reasoning_effort"]}
    text: dict[str, Any] = {}
    form = chat.get("response_format")
    if form is not None:
        text["format"] = {"type": form["type"], **form.get("json_schema", {})}
    if "verbosity" in chat:
        text["verbosity"] = chat["verbosity"]
    if text:
        body["text"] = text
    if "tools" in chat:
        body["tools"] = [_tool(tool) for tool in chat["tools"]]
    choice = chat.get("tool_choice")
    if choice is not None:
        named = isinstance(choice, dict) and "function" in choice
        body["tool_choice"] = {"type": "function", "name": choice["function"]["name"]} if named else choice
    return body


def has_recording(body: dict[str, Any]) -> bool:
    """Whether a body of `POST /responses` has a part that the API has no words for."""
    contents = [item["content"] for item in body["input"] if isinstance(item.get("content"), list)]
    return any(isinstance(part, dict) and part.get("type") == "input_audio" for parts in contents for part in parts)


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", **tool["function"]} if "function" in tool else tool


def _items(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The input items that one message becomes."""
    role, content = message["role"], message.get("content")
    if role == "tool":
        return [{"type": "function_call_output", "call_id": message["tool_call_id"], "output": content}]
    items: list[dict[str, Any]] = []
    if isinstance(content, list):
        said = "output_text" if role == "assistant" else "input_text"
        items.append({"role": role, "content": [_part(part, said) for part in content]})
    elif content is not None:
        items.append({"role": role, "content": content})
    for call in message.get("tool_calls") or ():
        function = call["function"]
        items.append(
            {
                "type": "function_call",
                "call_id": call["id"],
                "name": function["name"],
                "arguments": function["arguments"],
            }
        )
    return items


def _part(part: dict[str, Any], said: str) -> dict[str, Any]:
    if part.get("type") == "text":
        return {"type": said, "text": part["text"]}
    if part.get("type") == "image_url":
        image = part["image_url"]
        return {"type": "input_image", "image_url": image["url"], "detail": image.get("detail", "auto")}
    if part.get("type") == "file":
        return {"type": "input_file", **part["file"]}
    return part


def responses_answer(
    request: Request,
    data: dict[str, Any],
    raw: str,
    model: str,
    redact: Callable[[str], str],
    recorded: Callable[[str], str],
) -> Answer:
    """The answer that a response object holds. Raises ProviderError, or what a malformed object raises.

    `redact` takes secrets out of a provider's words, `recorded` out of answers.
    """
    usage = stated_usage(data)
    if data.get("status") == "failed":
        error = data.get("error") or {}
        kind = _KIND_OF_CODE.get(str(error.get("code")), "bad_answer")
        words = shorten(redact(str(error.get("message") or "the response failed")))
        code = 429 if kind in ("rate_limited", "quota_exhausted") else 400 if kind == "content_filter" else 502
        raise ProviderError(words, kind=kind, status=code, body=raw, usage=usage)
    texts, refusals, calls, reasoning = [], [], [], []
    for item in data["output"]:
        kind_of_item = item.get("type")
        if kind_of_item == "message":
            for part in item["content"] if isinstance(item["content"], list) else [item["content"]]:
                if isinstance(part, str):
                    texts.append(part)
                elif part.get("type") == "refusal":
                    refusals.append(str(part["refusal"]))
                elif part.get("type") == "output_text":
                    texts.append(part["text"])
        elif kind_of_item == "function_call":
            calls.append(tool_call(item["call_id"], item["name"], item["arguments"]))
        elif kind_of_item == "reasoning":
            reasoning += [part.get("text") or "" for part in item.get("summary") or ()]
    content = "".join(texts) if texts else None
    said = len(content or "") + sum(map(len, reasoning)) + sum(len(call["function"]["arguments"]) for call in calls)
    usage = known_or_estimated(usage, request, said)
    status, details = data.get("status"), data.get("incomplete_details")
    why = details.get("reason") if isinstance(details, dict) else None
    reason = why or status if status == "incomplete" else status
    end = end_of("openai", reason)
    if refusals:
        words = f"the model refused: {shorten(redact(' '.join(refusals)))}"
        raise ProviderError(words, kind="content_filter", status=400, body=raw, usage=usage)
    check_end(end, reason, raw=raw, usage=usage)
    if not calls:
        check_said(content, end, request.body, reasoned=bool(reasoning), raw=raw, usage=usage)
    finish_reason = "tool_calls" if calls and end == "whole" else OPENAI_REASON[end]
    named = str(data.get("model") or model)
    logged = completion(
        id=data.get("id"),
        created=int(data.get("created_at") or 0),
        model=named,
        content=content,
        finish_reason=finish_reason,
        usage=usage,
        tool_calls=calls,
        reasoning="".join(reasoning),
    )
    return Answer(content, usage, named, finish_reason, recorded(orjson.dumps(logged).decode()))
