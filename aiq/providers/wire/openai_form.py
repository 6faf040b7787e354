"""OpenAI's form, which every answer's `raw` and every chunk's `data` have, as on Databricks. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from aiq.request import Usage

MAX_TOKENS = 10**8
"""A count beyond this, in one call, is no count."""

SCHEMA_INSTRUCTION = (
    "Answer only with one JSON value that conforms to this JSON schema, without Markdown or words around it:\n"
)


def completion(
    *,
    id: str | None,
    created: int,
    model: str,
    content: str | None,
    finish_reason: str | None,
    usage: Usage,
    tool_calls: list[dict[str, Any]] | None = None,
    reasoning: str | None = None,
) -> dict[str, Any]:
    """A `chat.completion` in OpenAI's form. `tool_calls` as OpenAI writes them; `reasoning` as vLLM and others do."""
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if reasoning:
        message["reasoning_content"] = reasoning
    if tool_calls:
        message["tool_calls"] = tool_calls
    return {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": usage_body(usage),
    }


def chunk(
    *, id: str | None, created: int, model: str, delta: dict[str, Any], finish_reason: str | None = None
) -> dict[str, Any]:
    """A `chat.completion.chunk` in OpenAI's form."""
    return {
        "id": id,
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }


def tool_call(id: str, name: str, arguments: Any) -> dict[str, Any]:
    """A tool call in OpenAI's form; `arguments` is JSON text, or a value that becomes it."""
    text = arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()
    return {"id": id, "type": "function", "function": {"name": name, "arguments": text}}


def usage_body(usage: Usage) -> dict[str, Any]:
    """`usage` of chat and completions in OpenAI's form."""
    tokens_in, tokens_out = usage.input_tokens, usage.output_tokens
    cached = {"cached_tokens": usage.cached_tokens}
    if usage.cache_write_tokens:
        cached["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "prompt_tokens_details": cached,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def count(value: Any, most: int = MAX_TOKENS) -> int | None:
    """A token count as a provider states it, None for what is none: negative, astronomic, not a whole number."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= most else None


def say_schema(messages: list[dict[str, Any]], schema: Any) -> None:
    """Says in the system message, before the others where there is none, which JSON schema the answer has to follow.

    For providers that cannot be given one. `messages` are a copy that is made for sending.
    """
    instruction = SCHEMA_INSTRUCTION + orjson.dumps(schema).decode()
    if messages and messages[0]["role"] == "system" and isinstance(messages[0]["content"], str):
        messages[0]["content"] = f"{messages[0]['content']}\n\n{instruction}"
    else:
        messages.insert(0, {"role": "system", "content": instruction})


def data_url(url: str) -> tuple[str, str] | None:
    """The media type and the base64 text of a `data:` URL, None for any other URL."""
    head, separator, data = url.partition(";base64,")
    return (head.removeprefix("data:"), data) if separator and head.startswith("data:") else None
