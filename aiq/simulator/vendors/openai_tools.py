"""Whether tools, the choice among them and messages about them are what OpenAI accepts, and what they come to.

Source: OpenAI's API reference for chat completions and its guide to function calling.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from aiq.simulator.checks import remembered
from aiq.simulator.exchange import Tool
from aiq.simulator.refusal import VendorError, wrong_type
from aiq.simulator.vendors.openai_checks import empty_array, invalid, missing, not_among, object_, string, too_long
from aiq.simulator.vendors.openai_schema import check_schema

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MAX_TOOLS = 128


@remembered
def check_tools(param: str, value: Any) -> None:
    """Refuse (400) tools that are malformed."""
    if not isinstance(value, list):
        raise wrong_type(param, "an array of objects", value)
    if not value:
        raise empty_array(param)
    if len(value) > _MAX_TOOLS:
        raise too_long(param, value, _MAX_TOOLS)
    for i, tool in enumerate(value):
        object_(f"{param}[{i}]", tool)
        if tool.get("type") != "function":
            raise not_among(f"{param}[{i}].type", tool.get("type"), ("function",))
        check_function(f"{param}[{i}].function", tool.get("function"))


def check_function(param: str, function: Any) -> None:
    """Refuse (400) a malformed function: its name, or the schema of its parameters."""
    if not isinstance(function, dict):
        raise missing(param)
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise invalid(
            f"{param}.name",
            f"Invalid '{param}.name': string does not match pattern. Expected a string that matches the pattern "
            "'^[a-zA-Z0-9_-]+$'.",
        )
    schema = function.get("parameters")
    if schema is None:
        return
    object_(f"{param}.parameters", schema)
    try:
        check_schema(schema, name, (), bool(function.get("strict")))
    except VendorError as refusal:
        words = refusal.message.replace("response_format", "function", 1)
        raise VendorError(400, words, param=f"{param}.parameters", code="invalid_function_parameters") from None


def check_tool_choice(param: str, value: Any) -> None:
    """Refuse (400) what is neither `none`, `auto`, `required` nor the name of a function."""
    if isinstance(value, str) and value in ("none", "auto", "required"):
        return
    named = isinstance(value, dict) and value.get("type") == "function" and isinstance(value.get("function"), dict)
    if not named or not isinstance(value["function"].get("name"), str):
        raise invalid(param, f"Invalid value: '{value}'. Supported values are: 'none', 'auto', and 'required'.")


def check_tool_messages(param: str, messages: Sequence[Mapping[str, Any]]) -> None:
    """Refuse (400) malformed tool calls, calls without an answer, and answers to no call."""
    waiting: set[str] = set()
    for i, message in enumerate(messages):
        role, calls = message["role"], message.get("tool_calls")
        if role == "tool":
            call_id = message.get("tool_call_id")
            if not isinstance(call_id, str) or call_id not in waiting:
                raise VendorError(
                    400,
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                    "'tool_calls'.",
                    param=f"{param}[{i}].role",
                )
            waiting.discard(call_id)
            continue
        if waiting:
            _unanswered(param, i, waiting)
        if calls is not None:
            waiting = {_check_call(f"{param}[{i}].tool_calls[{j}]", call) for j, call in enumerate(_list(param, calls))}
    if waiting:
        _unanswered(param, len(messages), waiting)


def _unanswered(param: str, index: int, waiting: set[str]) -> None:
    raise VendorError(
        400,
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(sorted(waiting))}",
        param=f"{param}[{index}].role",
    )


def _list(param: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise wrong_type(f"{param}.tool_calls", "an array of objects", value)
    return value


def _check_call(param: str, call: Any) -> str:
    object_(param, call)
    function = call.get("function")
    if not isinstance(call.get("id"), str):
        raise missing(f"{param}.id")
    object_(f"{param}.function", function)
    for field in ("name", "arguments"):
        string(f"{param}.function.{field}", function.get(field))
    identity: str = call["id"]
    return identity


def tools_of(tools: Sequence[Mapping[str, Any]] | None) -> list[Tool]:
    """The functions of validated tools."""
    return [Tool(tool["function"]["name"], tool["function"].get("parameters") or {}) for tool in tools or ()]


def choice_of(choice: Any) -> str:
    """A validated `tool_choice`: auto, none, required, or the function's name."""
    if isinstance(choice, dict):
        return str(choice["function"]["name"])
    return choice or "auto"
