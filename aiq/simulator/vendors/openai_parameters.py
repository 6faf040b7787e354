"""Whether a request is one the vendor would accept. Knows no route and no socket.

Refuses in the vendor's words. Source: OpenAI's API reference for chat completions, completions and
embeddings, and its error messages.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiq.simulator.refusal import Refusal, wrong_type
from aiq.simulator.tokens import input_tokens
from aiq.simulator.vendors.openai_schema import check_response_format
from aiq.simulator.vendors.openai_tools import check_tool_choice, check_tool_messages, check_tools

MAX_INPUTS = 2048
MAX_INPUT_TOKENS = 8192
MAX_REQUEST_TOKENS = 300_000

Check = Callable[[str, Any], None]

_ROLES = ("system", "developer", "assistant", "user", "function", "tool")
_PARTS = ("text", "image_url", "input_audio", "file", "refusal")
_REASONING_MODELS = ("o1", "o3", "gpt-5")


def _anything(param: str, value: Any) -> None:
    pass


def _string(param: str, value: Any) -> None:
    if not isinstance(value, str):
        raise wrong_type(param, "a string", value)


def _boolean(param: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise wrong_type(param, "a boolean", value)


def _object(param: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)


def _array(param: str, value: Any) -> None:
    if not isinstance(value, list):
        raise wrong_type(param, "an array", value)


def _one_of(*allowed: str) -> Check:
    def check(param: str, value: Any) -> None:
        _string(param, value)
        if value not in allowed:
            raise _not_among(param, value, allowed)

    return check


def _not_among(param: str, value: Any, allowed: Sequence[str]) -> Refusal:
    names = ", ".join(f"'{name}'" for name in allowed)
    return Refusal(400, f"Invalid value: '{value}'. Supported values are: {names}.", param=param, code="invalid_value")


def _number(low: float, high: float, *, integer: bool = False) -> Check:
    noun, expected = ("integer", "an integer") if integer else ("decimal", "a decimal number")

    def check(param: str, value: Any) -> None:
        if type(value) is not int and (integer or type(value) is not float):
            raise wrong_type(param, expected, value)
        if not low <= value <= high:
            side, word, sign, bound = (
                ("below", "minimum", ">=", low) if value < low else ("above", "maximum", "<=", high)
            )
            raise Refusal(
                400,
                f"Invalid '{param}': {noun} {side} {word} value. Expected a value {sign} {bound}, "
                f"but got {value} instead.",
                param=param,
                code=f"{noun}_{side}_{word[:3]}_value",
            )

    return check


def _integer(low: int, high: int = 2**63 - 1) -> Check:
    return _number(low, high, integer=True)


def _stop(param: str, value: Any) -> None:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise wrong_type(param, "a string or an array of strings", value)
    if len(stops) > 4:
        raise Refusal(
            400,
            f"Invalid '{param}': array too long. Expected at most 4.",
            param=param,
            code="array_above_max_length",
        )


def _empty_array(param: str) -> Refusal:
    return Refusal(
        400,
        f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        param=param,
        code="empty_array",
    )


def _messages(param: str, value: Any) -> None:
    _array(param, value)
    if not value:
        raise _empty_array(param)
    for i, message in enumerate(value):
        if not isinstance(message, dict):
            raise wrong_type(f"{param}[{i}]", "an object", message)
        role = message.get("role")
        if role not in _ROLES:
            if role is None:
                raise _missing(f"{param}[{i}].role")
            raise _not_among(f"{param}[{i}].role", role, _ROLES)
        content = message.get("content")
        if isinstance(content, str):
            continue
        if isinstance(content, list):
            if not content:
                raise _empty_array(f"{param}[{i}].content")
            for j, part in enumerate(content):
                _part(f"{param}[{i}].content[{j}]", part)
        elif content is not None or role != "assistant":
            raise wrong_type(f"{param}[{i}].content", "a string or an array of objects", content)
    check_tool_messages(param, value)


def _part(param: str, part: Any) -> None:
    _object(param, part)
    kind = part.get("type")
    if kind not in _PARTS:
        raise _not_among(f"{param}.type", kind, _PARTS)
    if kind == "text":
        _string(f"{param}.text", part.get("text"))
    elif kind == "image_url":
        _object(f"{param}.image_url", part.get("image_url"))
        url = part["image_url"].get("url")
        _string(f"{param}.image_url.url", url)
        if not url.startswith(("https://", "http://")) and not _is_image_data(url):
            raise Refusal(
                400,
                "Invalid image data: expected an http(s) URL or a base64-encoded data URL "
                "(e.g. 'data:image/jpeg;base64,<base64>').",
                param=f"{param}.image_url.url",
                code="invalid_image_url",
            )


def _is_image_data(url: str) -> bool:
    head, separator, data = url.partition(";base64,")
    if not separator or not head.startswith("data:image/") or not data:
        return False
    try:
        binascii.a2b_base64(data, strict_mode=True)
    except (binascii.Error, ValueError):
        return False
    return True


_SAMPLING: dict[str, Check] = {
    "model": _string,
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "n": _integer(1, 128),
    "stop": _stop,
    "max_tokens": _integer(1),
    "frequency_penalty": _number(-2, 2),
    "presence_penalty": _number(-2, 2),
    "logit_bias": _object,
    "seed": _integer(-(2**63)),
    "user": _string,
    "stream": _boolean,
    "stream_options": _object,
}

CHAT: dict[str, Check] = _SAMPLING | {
    "messages": _messages,
    "max_completion_tokens": _integer(1),
    "logprobs": _boolean,
    "top_logprobs": _integer(0, 20),
    "safety_identifier": _string,
    "prompt_cache_key": _string,
    "prompt_cache_retention": _string,
    "tools": check_tools,
    "tool_choice": check_tool_choice,
    "functions": _array,
    "function_call": _anything,
    "parallel_tool_calls": _boolean,
    "response_format": check_response_format,
    "reasoning_effort": _one_of("none", "minimal", "low", "medium", "high", "xhigh"),
    "verbosity": _one_of("low", "medium", "high"),
    "service_tier": _one_of("auto", "default", "flex", "scale", "priority"),
    "store": _boolean,
    "metadata": _object,
    "modalities": _array,
    "prediction": _object,
    "audio": _object,
    "web_search_options": _object,
}


def _prompt(param: str, value: Any) -> None:
    if isinstance(value, list) and not value:
        raise _empty_array(param)
    if isinstance(value, str) or _is_list_of(value, str) or _is_tokens(value):
        return
    if not (isinstance(value, list) and all(map(_is_tokens, value))):
        raise wrong_type(param, "a string or an array", value)


COMPLETIONS: dict[str, Check] = _SAMPLING | {
    "prompt": _prompt,
    "best_of": _integer(1, 20),
    "echo": _boolean,
    "logprobs": _integer(0, 5),
    "suffix": _string,
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
        raise _empty_array(param)
    if not isinstance(value, str | list):
        raise wrong_type(param, "a string or an array", value)
    inputs = as_inputs(value)
    if len(inputs) > MAX_INPUTS:
        raise Refusal(
            400,
            f"Invalid '{param}': array too long. Expected an array with maximum length "
            f"{MAX_INPUTS}, but got an array with length {len(inputs)} instead.",
            param=param,
            code="array_above_max_length",
        )
    strings = isinstance(inputs[0], str)
    total = 0
    for i, item in enumerate(inputs):
        name = param if inputs[0] is value else f"{param}[{i}]"
        if not (isinstance(item, str) if strings else _is_tokens(item)):
            raise wrong_type(name, "a string" if strings else "an array of token ids", item)
        if not item:
            raise Refusal(400, f"Invalid '{name}': input cannot be an empty string.", param=name, code="invalid_value")
        tokens = input_tokens([item])
        total += tokens
        if tokens > MAX_INPUT_TOKENS:
            raise Refusal(
                400,
                f"Invalid '{name}': maximum context length is {MAX_INPUT_TOKENS} tokens, got {tokens}.",
                param=name,
                code="context_length_exceeded",
            )
    if total > MAX_REQUEST_TOKENS:
        raise Refusal(
            400,
            f"Invalid '{param}': maximum request size is {MAX_REQUEST_TOKENS} tokens per request, got {total}.",
            param=param,
            code="max_tokens_per_request",
        )


EMBEDDINGS: dict[str, Check] = {
    "model": _string,
    "input": _input,
    "dimensions": _integer(1, 4096),
    "encoding_format": _one_of("float", "base64"),
    "user": _string,
}


def _missing(param: str) -> Refusal:
    return Refusal(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def check_body(body: Mapping[str, Any], checks: Mapping[str, Check], required: str, model: str) -> None:
    """Refuse (400) an unknown parameter, a wrong value, a missing `required` parameter, or a missing model.

    `checks` is CHAT, COMPLETIONS or EMBEDDINGS; `model` comes from the body, or from the path on Azure.
    """
    if not model:
        raise Refusal(400, "you must provide a model parameter")
    if required not in body:
        raise _missing(required)
    for param, value in body.items():
        check = checks.get(param)
        if check is None:
            raise Refusal(400, f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")
        if value is not None or param == required:
            check(param, value)
    if "max_tokens" in body and checks is CHAT and model.startswith(_REASONING_MODELS):
        raise Refusal(
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )
    if body.get("stream_options") is not None and not body.get("stream"):
        raise Refusal(
            400,
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    if body.get("tool_choice") is not None and not body.get("tools"):
        raise Refusal(
            400,
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
            param="tool_choice",
            code="invalid_value",
        )
    response_format = body.get("response_format")
    if response_format and response_format["type"] == "json_object" and not _says_json(body["messages"]):
        raise Refusal(
            400,
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
            param="messages",
        )


def _says_json(messages: list[dict[str, Any]]) -> bool:
    return any("json" in str(message.get("content")).lower() for message in messages)
