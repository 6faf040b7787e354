"""Whether a request is one the vendor would accept. Knows no route and no socket.

Refuses in the vendor's words. Source: OpenAI's API reference for chat completions, completions and
embeddings, and its error messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiq.simulator.checks import Check, anything
from aiq.simulator.refusal import VendorError, wrong_type
from aiq.simulator.tokens import input_tokens
from aiq.simulator.vendors.openai_checks import (
    array,
    boolean,
    check_all,
    empty_array,
    integer,
    invalid,
    is_image_data,
    missing,
    not_among,
    number,
    object_,
    one_of,
    string,
    too_long,
)
from aiq.simulator.vendors.openai_schema import check_response_format
from aiq.simulator.vendors.openai_tools import check_tool_choice, check_tool_messages, check_tools

MAX_INPUTS = 2048
MAX_INPUT_TOKENS = 8192
MAX_REQUEST_TOKENS = 300_000

_ROLES = ("system", "developer", "assistant", "user", "function", "tool")
_PARTS = ("text", "image_url", "input_audio", "file", "refusal")
_REASONING_MODELS = ("o1", "o3", "gpt-5")


def _stop(param: str, value: Any) -> None:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise wrong_type(param, "a string or an array of strings", value)
    if len(stops) > 4:
        raise VendorError(
            400,
            f"Invalid '{param}': array too long. Expected at most 4.",
            param=param,
            code="array_above_max_length",
        )


def check_messages(param: str, value: Any) -> None:
    """Chat messages."""
    array(param, value)
    if not value:
        raise empty_array(param)
    for i, message in enumerate(value):
        if not isinstance(message, dict):
            raise wrong_type(f"{param}[{i}]", "an object", message)
        role = message.get("role")
        if role not in _ROLES:
            if role is None:
                raise missing(f"{param}[{i}].role")
            raise not_among(f"{param}[{i}].role", role, _ROLES)
        content = message.get("content")
        if isinstance(content, str):
            continue
        if isinstance(content, list):
            if not content:
                raise empty_array(f"{param}[{i}].content")
            for j, part in enumerate(content):
                _part(f"{param}[{i}].content[{j}]", part)
        elif content is not None or role != "assistant":
            raise wrong_type(f"{param}[{i}].content", "a string or an array of objects", content)
    check_tool_messages(param, value)


def _part(param: str, part: Any) -> None:
    object_(param, part)
    kind = part.get("type")
    if kind not in _PARTS:
        raise not_among(f"{param}.type", kind, _PARTS)
    if kind == "text":
        string(f"{param}.text", part.get("text"))
    elif kind == "image_url":
        object_(f"{param}.image_url", part.get("image_url"))
        url = part["image_url"].get("url")
        string(f"{param}.image_url.url", url)
        if not url.startswith(("https://", "http://")) and not is_image_data(url):
            raise VendorError(
                400,
                "Invalid image data: expected an http(s) URL or a base64-encoded data URL "
                "(e.g. 'data:image/jpeg;base64,<base64>').",
                param=f"{param}.image_url.url",
                code="invalid_image_url",
            )


_SAMPLING: dict[str, Check] = {
    "model": string,
    "temperature": number(0, 2),
    "top_p": number(0, 1),
    "n": integer(1, 128),
    "stop": _stop,
    "max_tokens": integer(1),
    "frequency_penalty": number(-2, 2),
    "presence_penalty": number(-2, 2),
    "logit_bias": object_,
    "seed": integer(-(2**63)),
    "user": string,
    "stream": boolean,
    "stream_options": object_,
}

CHAT: dict[str, Check] = _SAMPLING | {
    "messages": check_messages,
    "max_completion_tokens": integer(1),
    "logprobs": boolean,
    "top_logprobs": integer(0, 20),
    "safety_identifier": string,
    "prompt_cache_key": string,
    "prompt_cache_retention": string,
    "tools": check_tools,
    "tool_choice": check_tool_choice,
    "functions": array,
    "function_call": anything,
    "parallel_tool_calls": boolean,
    "response_format": check_response_format,
    "reasoning_effort": one_of("none", "minimal", "low", "medium", "high", "xhigh"),
    "verbosity": one_of("low", "medium", "high"),
    "service_tier": one_of("auto", "default", "flex", "scale", "priority"),
    "store": boolean,
    "metadata": object_,
    "modalities": array,
    "prediction": object_,
    "audio": object_,
    "web_search_options": object_,
}


def _prompt(param: str, value: Any) -> None:
    if isinstance(value, list) and not value:
        raise empty_array(param)
    if isinstance(value, str) or _is_list_of(value, str) or _is_tokens(value):
        return
    if not (isinstance(value, list) and all(map(_is_tokens, value))):
        raise wrong_type(param, "a string or an array", value)


COMPLETIONS: dict[str, Check] = _SAMPLING | {
    "prompt": _prompt,
    "best_of": integer(1, 20),
    "echo": boolean,
    "logprobs": integer(0, 5),
    "suffix": string,
}


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(item) is kind for item in value)


def _is_tokens(value: Any) -> bool:
    return bool(value) and _is_list_of(value, int)


def as_inputs(value: Any) -> list[str | list[int]]:
    """The inputs of `input` or `prompt`: one for a string or a list of token ids, else one an element."""
    return [value] if isinstance(value, str) or _is_tokens(value) else value


def _input(param: str, value: Any) -> None:
    if isinstance(value, list) and not value:
        raise empty_array(param)
    if not isinstance(value, str | list):
        raise wrong_type(param, "a string or an array", value)
    inputs = as_inputs(value)
    if len(inputs) > MAX_INPUTS:
        raise too_long(param, inputs, MAX_INPUTS)
    strings = isinstance(inputs[0], str)
    total = 0
    for i, item in enumerate(inputs):
        name = param if inputs[0] is value else f"{param}[{i}]"
        if not (isinstance(item, str) if strings else _is_tokens(item)):
            raise wrong_type(name, "a string" if strings else "an array of token ids", item)
        if not item:
            raise invalid(name, f"Invalid '{name}': input cannot be an empty string.")
        tokens = input_tokens([item])
        total += tokens
        if tokens > MAX_INPUT_TOKENS:
            raise VendorError(
                400,
                f"Invalid '{name}': maximum context length is {MAX_INPUT_TOKENS} tokens, got {tokens}.",
                param=name,
                code="context_length_exceeded",
            )
    if total > MAX_REQUEST_TOKENS:
        raise VendorError(
            400,
            f"Invalid '{param}': maximum request size is {MAX_REQUEST_TOKENS} tokens per request, got {total}.",
            param=param,
            code="max_tokens_per_request",
        )


EMBEDDINGS: dict[str, Check] = {
    "model": string,
    "input": _input,
    "dimensions": integer(1, 4096),
    "encoding_format": one_of("float", "base64"),
    "user": string,
}


def check_body(body: Mapping[str, Any], checks: Mapping[str, Check], required: str, model: str) -> None:
    """Refuse (400) an unknown parameter, a wrong value, a missing `required` parameter, or a missing model.

    `checks` is CHAT, COMPLETIONS or EMBEDDINGS; `model` comes from the body, or from the path on Azure.
    """
    if not model:
        raise VendorError(400, "you must provide a model parameter")
    check_all(body, checks, required)
    if "max_tokens" in body and checks is CHAT and model.startswith(_REASONING_MODELS):
        raise VendorError(
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )
    if body.get("stream_options") is not None and not body.get("stream"):
        raise VendorError(
            400,
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    if body.get("tool_choice") is not None and not body.get("tools"):
        words = "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified."
        raise invalid("tool_choice", words)
    response_format = body.get("response_format")
    if response_format and response_format["type"] == "json_object" and not _says_json(body["messages"]):
        raise VendorError(
            400,
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
            param="messages",
        )


def _says_json(messages: list[dict[str, Any]]) -> bool:
    return any("json" in str(message.get("content")).lower() for message in messages)
