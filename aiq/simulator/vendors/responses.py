"""What a request to the Responses API asks: OpenAI's, and that of agents that take the same input.

Strict as the vendor is. Its items become the messages of a chat, which is what the simulated model answers. Source:
OpenAI's API reference, "Responses", and its guide "Migrate to the Responses API".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiq.simulator.checks import Check, anything
from aiq.simulator.exchange import Tool, VendorRequest, VendorRoute
from aiq.simulator.refusal import VendorError, wrong_type
from aiq.simulator.tokens import chat_tokens, tool_tokens
from aiq.simulator.vendors.openai_checks import (
    array,
    boolean,
    check_all,
    empty_array,
    integer,
    is_image_data,
    missing,
    not_among,
    number,
    object_,
    one_of,
    string,
)
from aiq.simulator.vendors.openai_schema import check_response_format
from aiq.simulator.vendors.openai_tools import check_function

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
_ROLES = ("assistant", "system", "developer", "user")
_ITEMS = ("message", "function_call", "function_call_output", "reasoning")


def _text(param: str, value: Any) -> None:
    object_(param, value)
    for name in value:
        if name not in ("format", "verbosity"):
            raise VendorError(400, f"Unknown parameter: '{param}.{name}'.", param=f"{param}.{name}")
    form = value.get("format")
    if form is not None:
        object_(f"{param}.format", form)
        nested = {"type": form.get("type"), "json_schema": {k: v for k, v in form.items() if k != "type"}}
        try:
            check_response_format(f"{param}.format", nested)
        except VendorError as refusal:
            words = refusal.message.replace(".json_schema", "").replace("response_format", f"{param}.format")
            where = (refusal.param or "").replace(".json_schema", "").replace("response_format", f"{param}.format")
            raise VendorError(400, words, param=where, code=refusal.code) from None
    if value.get("verbosity") is not None:
        one_of("low", "medium", "high")(f"{param}.verbosity", value["verbosity"])


def _reasoning(param: str, value: Any) -> None:
    object_(param, value)
    if value.get("effort") is not None:
        one_of(*EFFORTS)(f"{param}.effort", value["effort"])
    if value.get("summary") is not None:
        one_of("auto", "concise", "detailed")(f"{param}.summary", value["summary"])


def _tools(param: str, value: Any) -> None:
    array(param, value)
    for i, tool in enumerate(value):
        object_(f"{param}[{i}]", tool)
        if tool.get("type") != "function":
            raise not_among(f"{param}[{i}].type", tool.get("type"), ("function",))
        check_function(f"{param}[{i}]", {**tool, "strict": tool.get("strict")})


def _tool_choice(param: str, value: Any) -> None:
    if isinstance(value, str):
        one_of("none", "auto", "required")(param, value)
        return
    object_(param, value)
    if value.get("type") != "function":
        raise not_among(f"{param}.type", value.get("type"), ("function",))
    string(f"{param}.name", value.get("name"))


def _not_kept(param: str, value: Any) -> None:
    raise VendorError(
        400, f"Previous response with id '{value}' not found.", param=param, code="previous_response_not_found"
    )


def _not_in_background(param: str, value: Any) -> None:
    boolean(param, value)
    if value:
        raise VendorError(400, "The simulator answers at once: 'background' must be false.", param=param)


def _input(param: str, value: Any) -> None:
    if not isinstance(value, str | list):
        raise wrong_type(param, "a string or an array of input items", value)
    if not value:
        raise empty_array(param) if isinstance(value, list) else missing(param)


RESPONSES: dict[str, Check] = {
    "model": string,
    "input": _input,
    "instructions": string,
    "max_output_tokens": integer(16),
    "temperature": number(0, 2),
    "top_p": number(0, 1),
    "text": _text,
    "reasoning": _reasoning,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "parallel_tool_calls": boolean,
    "max_tool_calls": integer(1),
    "previous_response_id": _not_kept,
    "conversation": _not_kept,
    "store": boolean,
    "background": _not_in_background,
    "include": array,
    "metadata": object_,
    "truncation": one_of("auto", "disabled"),
    "top_logprobs": integer(0, 20),
    "service_tier": one_of("auto", "default", "flex", "scale", "priority"),
    "prompt_cache_key": string,
    "prompt_cache_retention": string,
    "safety_identifier": string,
    "user": string,
    "stream": boolean,
    "stream_options": object_,
    "prompt": object_,
}
AGENT: dict[str, Check] = RESPONSES | {
    "custom_inputs": object_,
    "context": object_,
    "max_output_tokens": integer(1),
    "databricks_options": anything,
}
"""What MLflow's ResponsesAgent takes besides."""


def read(
    body: dict[str, Any], model: str, route: VendorRoute, checks: Mapping[str, Check] = RESPONSES
) -> VendorRequest:
    """What a request asks. Raises VendorError for what the vendor would not accept."""
    if not model:
        raise missing("model")
    check_all(body, checks, "input")
    messages = _messages(body)
    asked = VendorRequest("chat", model, body, chat_tokens(messages), messages=messages, route=route)
    asked.tools = [Tool(tool["name"], tool.get("parameters") or {}) for tool in body.get("tools") or ()]
    asked.prompt_tokens += tool_tokens(asked.tools)
    choice = body.get("tool_choice") or "auto"
    asked.tool_choice = choice if isinstance(choice, str) else choice["name"]
    asked.parallel = body.get("parallel_tool_calls") is not False
    form = (body.get("text") or {}).get("format") or {}
    asked.schema = form.get("schema") if form.get("type") == "json_schema" else None
    asked.json = form.get("type") == "json_object"
    if asked.json and not any("json" in str(message.get("content")).lower() for message in messages):
        raise VendorError(
            400,
            "Response input messages must contain the word 'json' in some form to use 'text.format' of type "
            "'json_object'.",
            param="input",
        )
    asked.limit = body.get("max_output_tokens")
    asked.effort = (body.get("reasoning") or {}).get("effort")
    asked.sampling = (None, body.get("temperature"), body.get("top_p"))
    asked.stream = bool(body.get("stream"))
    asked.reserve = max(asked.prompt_tokens, asked.limit or 0)
    return asked


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The chat that instructions and input items come to."""
    messages: list[dict[str, Any]] = []
    if body.get("instructions"):
        messages.append({"role": "developer", "content": body["instructions"]})
    items = body["input"]
    if isinstance(items, str):
        return [*messages, {"role": "user", "content": items}]
    for i, item in enumerate(items):
        _add(messages, f"input[{i}]", item)
    _check_calls(messages)
    if not messages:
        raise empty_array("input")
    return messages


def _add(messages: list[dict[str, Any]], param: str, item: Any) -> None:
    object_(param, item)
    kind = item.get("type", "message")
    if kind == "message":
        role = item.get("role")
        if role not in _ROLES:
            raise missing(f"{param}.role") if role is None else not_among(f"{param}.role", role, _ROLES)
        messages.append({"role": role, "content": _content(f"{param}.content", item.get("content"))})
    elif kind == "function_call":
        for name in ("call_id", "name", "arguments"):
            string(f"{param}.{name}", item.get(name))
        call = {"id": item["call_id"], "function": {"name": item["name"], "arguments": item["arguments"]}}
        if not (messages and messages[-1].get("tool_calls")):
            messages.append({"role": "assistant", "content": None, "tool_calls": []})
        messages[-1]["tool_calls"].append(call)
    elif kind == "function_call_output":
        string(f"{param}.call_id", item.get("call_id"))
        content = _content(f"{param}.output", item.get("output"))
        messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": content})
    elif kind != "reasoning":
        raise not_among(f"{param}.type", kind, _ITEMS)


def _content(param: str, content: Any) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise wrong_type(param, "a string or an array of content parts", content)
    return [_part(f"{param}[{j}]", part) for j, part in enumerate(content)]


def _part(param: str, part: Any) -> dict[str, Any]:
    object_(param, part)
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text"):
        string(f"{param}.text", part.get("text"))
        return {"type": "text", "text": part["text"]}
    if kind == "refusal":
        string(f"{param}.refusal", part.get("refusal"))
        return {"type": "text", "text": part["refusal"]}
    if kind == "input_file":
        return {"type": "file", "file": part}
    if kind != "input_image":
        raise not_among(f"{param}.type", kind, ("input_text", "input_image", "output_text", "refusal", "input_file"))
    url = part.get("image_url")
    string(f"{param}.image_url", url)
    if not url.startswith(("https://", "http://")) and not is_image_data(url):
        raise VendorError(
            400,
            "Invalid 'image_url'. Expected a valid URL or base64-encoded data URL.",
            param=f"{param}.image_url",
            code="invalid_value",
        )
    return {"type": "image_url", "image_url": {"url": url}}


def _check_calls(messages: Sequence[Mapping[str, Any]]) -> None:
    """Every output belongs to a call, and every call has an output."""
    called = [call["id"] for message in messages for call in message.get("tool_calls") or ()]
    answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    for call_id in answered:
        if call_id not in called:
            raise VendorError(
                400, f"No tool call found for function call output with call_id {call_id}.", param="input"
            )
    for call_id in called:
        if call_id not in answered:
            raise VendorError(400, f"No tool output found for function call {call_id}.", param="input")
