"""A chat in OpenAI's form as Anthropic's Messages API takes it. Pure; must never know a response, a header or a key.

Source: the Claude API reference, "Create a Message", and its pages on tool use, vision, prompt caching and effort.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from aiq.providers.wire.openai_form import data_url

MAX_TOKENS = 4096
"""Of an answer whose request sets no limit: Anthropic wants one, and every Claude model can give so many."""
THINKING_TOKENS = 12_288
"""What is added to it where the model is asked to think, because thoughts count as output."""

PARAMETERS = frozenset({
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "n", "user", "safety_identifier",
    "reasoning_effort", "tools", "tool_choice", "parallel_tool_calls", "service_tier",
})  # fmt: skip
"""Of OpenAI's, those that have a meaning here."""
OWN = frozenset({
    "top_k", "thinking", "output_config", "cache_control", "metadata", "stop_sequences", "system", "container",
    "inference_geo", "speed", "context_management", "mcp_servers", "diagnostics",
})  # fmt: skip
_UNHEARD = frozenset({
    "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "seed", "verbosity", "store",
    "prompt_cache_key", "modalities", "audio", "prediction", "functions", "function_call", "web_search_options",
})  # fmt: skip
"""OpenAI's own, which Anthropic's API does not know."""
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}
_JSON_MODE = "Answer with one JSON object and nothing else: no introduction, no explanation, no code fence."
_BY_SCHEMA = "Answer with JSON that conforms to this JSON schema and with nothing else, without a code fence:\n"


class Impossible(ValueError):
    """What is asked cannot be said to Anthropic; the words complete `provider anthropic ...`."""


Format = tuple[dict[str, Any] | None, str | None]
"""How JSON is asked for: `output_config.format`, or an instruction where it cannot say it."""


def wire_body(model: str, body: Mapping[str, Any], output_format: Format, *, stream: bool = False) -> dict[str, Any]:
    """The body of `POST /v1/messages`. Raises Impossible. Names that are not OpenAI's go through as they are."""
    wire: dict[str, Any] = {"model": model, "max_tokens": 0}
    choice: dict[str, Any] | None = None
    effort, parallel = None, True
    for name, value in body.items():
        if value is None or name in ("messages", "response_format", "stream_options", "stream"):
            continue
        if name in ("max_tokens", "max_completion_tokens"):
            wire["max_tokens"] = value
        elif name == "temperature":
            if not value <= 1:
                raise Impossible(f"takes a temperature between 0 and 1, not {value}")
            wire["temperature"] = value
        elif name == "stop":
            wire["stop_sequences"] = [value] if isinstance(value, str) else value
        elif name == "n":
            if value != 1:
                raise Impossible(f"gives one answer a request, not {value}; leave `n` out")
        elif name in ("user", "safety_identifier"):
            wire["metadata"] = {"user_id": value}
        elif name == "reasoning_effort":
            effort = value
        elif name == "tools":
            wire["tools"] = [_tool(tool) for tool in value]
        elif name == "tool_choice":
            choice = _tool_choice(value)
        elif name == "parallel_tool_calls":
            parallel = bool(value)
        elif name == "service_tier":
            wire["service_tier"] = "standard_only" if value == "default" else value
        elif name in _UNHEARD:
            raise Impossible(f"cannot honour `{name}`; leave it out")
        else:
            wire[name] = value
    if effort is not None:
        _think(wire, effort)
    if not wire["max_tokens"]:
        wire["max_tokens"] = _max_tokens(wire.get("thinking"))
    if not parallel and "tools" in wire and (choice is None or choice["type"] != "none"):
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None:
        wire["tool_choice"] = choice
    system, wire["messages"] = _messages(body["messages"])
    native, instruction = output_format
    if native is not None:
        wire["output_config"] = {**wire.get("output_config", {}), "format": native}
    if instruction is not None:
        system.append({"type": "text", "text": instruction})
    if system:
        own = wire.get("system")
        if own is not None:
            system[:0] = [{"type": "text", "text": own}] if isinstance(own, str) else own
        plain = all(len(block) == 2 for block in system)
        wire["system"] = "\n\n".join(block["text"] for block in system) if plain else system
    if stream:
        wire["stream"] = True
    return wire


def output_format(
    response_format: Mapping[str, Any] | None, native_schema: Callable[[Any], dict[str, Any] | None]
) -> Format:
    """How `response_format` is said: `native_schema` gives the schema as Anthropic takes it, None where it cannot."""
    kind = None if response_format is None else response_format.get("type")
    if response_format is None or kind == "text":
        return None, None
    if kind == "json_object":  # there is no mode for it
        return None, _JSON_MODE
    if kind != "json_schema":
        raise Impossible(f"does not know a response format of type {kind}")
    envelope = response_format.get("json_schema")
    schema = envelope.get("schema") if isinstance(envelope, dict) else None
    if not isinstance(schema, dict):
        raise Impossible("needs a schema in response_format.json_schema")
    native = native_schema(schema)
    if native is None:
        return None, _BY_SCHEMA + orjson.dumps(schema).decode()
    return {"type": "json_schema", "schema": native}, None


def _think(wire: dict[str, Any], effort: Any) -> None:
    """OpenAI's `reasoning_effort`: `none` switches thinking off, the others are Anthropic's own names."""
    if effort == "none":
        wire.setdefault("thinking", {"type": "disabled"})
    elif effort == "minimal" or effort in _EFFORTS:
        config = {"effort": "low" if effort == "minimal" else effort}
        wire["output_config"] = config | wire.get("output_config", {})
    else:
        raise Impossible(f"takes a reasoning_effort of none, minimal, {', '.join(sorted(_EFFORTS))}, not {effort}")


def _max_tokens(thinking: Any) -> int:
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind is None or kind == "disabled":
        return MAX_TOKENS
    budget = thinking.get("budget_tokens")
    return MAX_TOKENS + (budget if isinstance(budget, int) else THINKING_TOKENS)


def _messages(messages: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The blocks of the system prompt, from wherever its messages stand, and the turns."""
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for message in messages:
        role, content = message["role"], message.get("content")
        if role == "user":
            turns.append({"role": "user", "content": content if isinstance(content, str) else _blocks(content)})
        elif role == "system" or role == "developer":
            system += [{"type": "text", "text": content}] if isinstance(content, str) else _blocks(content)
        elif role == "assistant":
            calls = message.get("tool_calls")
            if not calls and isinstance(content, str):
                turns.append({"role": "assistant", "content": content})
                continue
            said = [{"type": "text", "text": content}] if isinstance(content, str) else _blocks(content or ())
            said = [block for block in said if block.get("text") != ""]  # which Anthropic refuses
            turns.append({"role": "assistant", "content": said + [_tool_use(call) for call in calls or ()]})
        elif role == "tool":
            result = {"type": "tool_result", "tool_use_id": message.get("tool_call_id"), "content": content}
            if not isinstance(content, str):
                result["content"] = _blocks(content or ())
            before = turns[-1] if turns else None
            if before is not None and before["role"] == "user" and isinstance(before["content"], list):
                before["content"].append(result)  # all results of one turn belong into the next one
            else:
                turns.append({"role": "user", "content": [result]})
        else:
            raise Impossible(f"does not know the role {role}")
    return system, turns


def _blocks(parts: Any) -> list[dict[str, Any]]:
    if not isinstance(parts, list | tuple):
        raise Impossible("needs a text or a list of parts as a message's content")
    return [_block(part) for part in parts]


def _block(part: Mapping[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "text":
        block: dict[str, Any] = {"type": "text", "text": part["text"]}
    elif kind == "image_url":
        url = part["image_url"]
        block = {"type": "image", "source": _image(url["url"] if isinstance(url, Mapping) else url)}
    elif kind == "file":
        block = _document(part["file"])
    elif kind == "refusal":
        block = {"type": "text", "text": part["refusal"]}
    elif kind == "input_audio":
        raise Impossible("takes no audio")
    else:  # a block of its own, such as a document
        return dict(part)
    if "cache_control" in part:
        block["cache_control"] = part["cache_control"]
    return block


def _image(url: str) -> dict[str, Any]:
    inline = data_url(url)
    if inline is None:
        if not url.startswith(("https://", "http://")):
            raise Impossible("takes an image as a data: URL in base64 or as a web address")
        return {"type": "url", "url": url}
    media, data = inline
    if media not in _IMAGES:
        raise Impossible(f"takes images in JPEG, PNG, GIF and WebP, not {media[:40]}")
    return {"type": "base64", "media_type": media, "data": data}


def _document(file: Mapping[str, Any]) -> dict[str, Any]:
    inline = data_url(file.get("file_data") or "")
    if inline is None or inline[0] != "application/pdf":
        raise Impossible("takes a file as a data: URL of a PDF in base64")
    block: dict[str, Any] = {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": inline[1]},
    }
    if file.get("filename"):
        block["title"] = file["filename"]
    return block


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool.get("function")
    if tool.get("type") != "function" or not isinstance(function, Mapping):  # one of its own, such as web search
        return dict(tool)
    wire: dict[str, Any] = {"name": function["name"]}
    if function.get("description"):
        wire["description"] = function["description"]
    wire["input_schema"] = function.get("parameters") or _NO_ARGUMENTS
    if function.get("strict"):
        wire["strict"] = True
    if "cache_control" in tool:
        wire["cache_control"] = tool["cache_control"]
    return wire


def _tool_choice(choice: Any) -> dict[str, Any]:
    if choice == "auto" or choice == "none":
        return {"type": choice}
    if choice == "required":
        return {"type": "any"}
    kind = choice.get("type") if isinstance(choice, Mapping) else None
    if kind == "function":
        return {"type": "tool", "name": choice["function"]["name"]}
    if isinstance(choice, Mapping) and kind in ("auto", "any", "tool", "none"):
        return dict(choice)
    raise Impossible("takes a tool_choice of auto, none, required or one function")


def _tool_use(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = function.get("arguments") or "{}"
    try:
        value = orjson.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Impossible(f"needs the arguments of a call of {function['name']} as a JSON object")
    return {"type": "tool_use", "id": call["id"], "name": function["name"], "input": value}
