"""Chats and embeddings in OpenAI's form as the bodies of Cohere's API, version 2. Must never know who sends them.

Source: Cohere's OpenAPI description (`/v2/chat`, `/v2/embed`) and its guides to structured outputs and reasoning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from aiq.providers.cohere.schema import native_schema
from aiq.providers.wire.openai_form import say_schema

Refuse = Callable[[str], NoReturn]
"""Says before a call what the provider cannot do: `has no ...`, after its name."""

HONOURED = frozenset(
    {
        "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "n", "seed", "frequency_penalty",
        "presence_penalty", "tools", "tool_choice", "reasoning_effort",
    }
)  # fmt: skip
"""OpenAI's parameters that have a meaning in a chat."""
OWN = frozenset(
    {
        "k", "p", "stop_sequences", "safety_mode", "documents", "citation_options", "strict_tools", "thinking",
        "priority", "input_type", "embedding_types", "truncate",
    }
)  # fmt: skip
"""Parameters that OpenAI does not have, of chats and embeddings."""
MOST_TEXTS = 96
"""In one call for embeddings."""
DEFAULT_INPUT_TYPE = "search_document"
"""What is embedded where the caller does not say: what is stored, to be searched for with `search_query` later."""

_SAME = frozenset({"temperature", "seed", "frequency_penalty", "presence_penalty"})
_UNKNOWN = frozenset(
    {
        "audio", "function_call", "functions", "logit_bias", "logprobs", "metadata", "modalities", "prediction",
        "prompt_cache_key", "safety_identifier", "service_tier", "store", "top_logprobs", "user", "verbosity",
        "web_search_options",
    }
)  # fmt: skip
"""OpenAI's parameters that Cohere has nothing like."""
_TRANSLATED = HONOURED | {"messages", "stream", "stream_options", "response_format", "parallel_tool_calls"}
_THINKING = {"none": "disabled", "high": "enabled"}
_LEAST_P, _MOST_P = 0.01, 0.99
_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


def chat_body(chat: dict[str, Any], model: str, refuse: Refuse, *, stream: bool) -> dict[str, Any]:
    """The body of `POST /v2/chat`. What neither OpenAI nor this file knows goes over as it is."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [_message(message, refuse) for message in chat["messages"]],
        "stream": stream,
    }
    if len(chat) == 1:  # as most are
        return body
    for name, value in chat.items():
        if value is None:
            continue
        if name in _UNKNOWN:
            refuse(f"has no parameter {name}: leave it out")
        if name in _SAME or name not in _TRANSLATED:
            body[name] = value
    most = chat.get("max_completion_tokens") or chat.get("max_tokens")
    if most is not None:
        body["max_tokens"] = most
    if chat.get("top_p") is not None:  # Cohere has no 1, and leaving p out means 0.75
        body.setdefault("p", min(max(chat["top_p"], _LEAST_P), _MOST_P))
    stop = chat.get("stop")
    if stop:
        body.setdefault("stop_sequences", [stop] if isinstance(stop, str) else stop)
    if chat.get("n", 1) not in (1, None):
        refuse(f"gives one answer a call, not {chat['n']}: leave n out")
    if chat.get("parallel_tool_calls") is False:
        refuse("cannot keep a model to one tool call: leave parallel_tool_calls out")
    effort = chat.get("reasoning_effort")
    if effort is not None and "thinking" not in body:
        if effort not in _THINKING:
            refuse(f"knows reasoning_effort none and high, not {effort!r}; or set thinking.token_budget")
        body["thinking"] = {"type": _THINKING[effort]}
    if chat.get("tools"):
        _add_tools(chat["tools"], chat.get("tool_choice"), body, refuse)
    _add_format(chat.get("response_format"), body, refuse)
    return body


def _message(message: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    role, content = message["role"], message.get("content")
    if role == "user":
        return {"role": role, "content": content if isinstance(content, str) else _parts(content, refuse, images=True)}
    if role in ("system", "developer"):
        return {"role": "system", "content": content if isinstance(content, str) else _parts(content, refuse)}
    if role == "tool":
        plain = content if isinstance(content, str) else _parts(content, refuse)
        return {"role": role, "tool_call_id": message["tool_call_id"], "content": plain}
    if role != "assistant":
        refuse(f"has no messages of role '{role}'")
    text = content if isinstance(content, str) else "".join(part["text"] for part in _parts(content or (), refuse))
    calls = message.get("tool_calls")
    if not calls:
        return {"role": role, "content": text}
    said: dict[str, Any] = {"role": role, "tool_calls": [_call(call) for call in calls]}
    if text:  # text next to a call is a plan here
        said["tool_plan"] = text
    return said


def _parts(content: Any, refuse: Refuse, *, images: bool = False) -> list[dict[str, Any]]:
    parts = []
    for part in content:
        kind = part["type"]
        if kind == "text":
            parts.append({"type": "text", "text": part["text"]})
        elif kind == "image_url" and images:
            image = part["image_url"]
            parts.append({"type": "image_url", "image_url": {k: image[k] for k in ("url", "detail") if k in image}})
        else:
            refuse(f"takes no content of type '{kind}' {'' if images else 'in a message of this role'}".rstrip())
    return parts


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    named = {"name": function["name"], "arguments": function["arguments"]}
    return {"id": call["id"], "type": "function", "function": named}


def _add_tools(tools: list[dict[str, Any]], choice: Any, body: dict[str, Any], refuse: Refuse) -> None:
    """Tools and which of them may be called. Cohere cannot name one, so where one is named it is the only one."""
    if isinstance(choice, dict):
        name = choice["function"]["name"]
        tools = [tool for tool in tools if tool["function"]["name"] == name]
        if not tools:
            refuse(f"was not given the tool '{name}' that tool_choice names")
        body["tool_choice"] = "REQUIRED"
    elif choice in ("required", "none"):
        body["tool_choice"] = choice.upper()
    elif choice not in (None, "auto"):
        refuse(f"has no tool_choice '{choice}'")
    body["tools"] = [_tool(tool, refuse) for tool in tools]
    if all(tool["function"].get("strict") for tool in tools):
        body.setdefault("strict_tools", True)


def _tool(tool: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    if tool.get("type") != "function":
        refuse(f"has no tools of type '{tool.get('type')}', only functions")
    function = tool["function"]
    described: dict[str, Any] = {"name": function["name"]}
    if function.get("description"):
        described["description"] = function["description"]
    described["parameters"] = function.get("parameters") or _NO_PARAMETERS
    return {"type": "function", "function": described}


def _add_format(response_format: Any, body: dict[str, Any], refuse: Refuse) -> None:
    if not response_format or response_format["type"] == "text":
        return
    if response_format["type"] not in ("json_object", "json_schema"):
        refuse(f"has no response_format of type '{response_format['type']}'")
    if "tools" in body or "documents" in body:
        refuse("takes no response_format together with tools or documents: leave one of them out")
    wanted: dict[str, Any] = {"type": "json_object"}
    schema = response_format.get("json_schema", {}).get("schema")
    native = native_schema(schema) if schema else None
    if native is not None:
        wanted["json_schema"] = native
    elif schema:
        say_schema(body["messages"], schema)
        if schema.get("type", "object") != "object":  # JSON mode gives objects only
            return
    body["response_format"] = wanted


def embeddings_body(embeddings: dict[str, Any], model: str, refuse: Refuse) -> dict[str, Any]:
    """The body of `POST /v2/embed`, which asks for one form of embeddings."""
    texts = embeddings["input"]
    texts = [texts] if isinstance(texts, str) else texts
    if not all(isinstance(text, str) for text in texts):
        refuse("embeds texts, not token ids")
    body: dict[str, Any] = {
        "model": model,
        "texts": texts,
        "input_type": DEFAULT_INPUT_TYPE,
        "embedding_types": ["float"],
    }
    for name, value in embeddings.items():
        if name == "dimensions":
            body["output_dimension"] = value
        elif name in ("user", "encoding_format"):
            if name == "user" or value != "float":
                refuse(f"has no parameter {name} for embeddings: leave it out")
        elif name != "input":
            body[name] = value
    forms = body["embedding_types"]
    if not isinstance(forms, list) or len(forms) != 1:
        refuse("gives one form of embeddings a call: name one in embedding_types")
    return body
