"""What Anthropic would not accept: parameters, messages, tools and schemas, in its own words. Decides nothing else.

Source: the Claude API reference ("Create a Message") and its pages on errors, tool use and structured outputs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from aiq.simulator.checks import remembered
from aiq.simulator.refusal import VendorError
from aiq.simulator.schema import is_well_typed

SAMPLING = ("temperature", "top_p", "top_k")
_KNOWN = frozenset({
    "model", "messages", "max_tokens", "system", "stop_sequences", "stream", "tools", "tool_choice", "thinking",
    "metadata", "service_tier", "output_config", "cache_control", "container", "context_management", "diagnostics",
    "inference_geo", "mcp_servers", "speed", *SAMPLING,
})  # fmt: skip
_BLOCKS = {
    "user": frozenset({"text", "image", "document", "search_result", "tool_result"}),
    "assistant": frozenset({"text", "thinking", "redacted_thinking", "tool_use"}),
}
_FIELDS = {
    "text": ("text",),
    "image": ("source",),
    "document": ("source",),
    "tool_use": ("id", "name", "input"),
    "tool_result": ("tool_use_id",),
}
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_MOST_BREAKPOINTS = 4
_WITHOUT_SAMPLING = re.compile(r"claude-(opus-4-[78]|[a-z]+-5\b)")
_WITHOUT_FORMATS = re.compile(r"claude-(2|3|instant|opus-4-[01]|opus-4-2025|sonnet-4-0|sonnet-4-2025)")
_SCHEMA_KEYS = frozenset({
    "type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "allOf", "$ref",
    "$defs", "definitions", "description", "title", "default", "format", "minItems",
})  # fmt: skip


def refuse(param: str, words: str) -> NoReturn:
    """Raises the 400 that names a parameter."""
    raise VendorError(400, f"{param}: {words}" if param else words)


def check_body(body: Mapping[str, Any]) -> None:
    """Refuse (400) what is no request for a message."""
    for name in ("model", "messages", "max_tokens"):
        if name not in body:
            refuse(name, "Field required")
    for name in body:
        if name not in _KNOWN:
            refuse(name, "Extra inputs are not permitted")
    if not isinstance(body["model"], str) or not body["model"]:
        refuse("model", "Input should be a valid string")
    _integer(body, "max_tokens", 1)
    _check_sampling(body)
    thinking = _object(body, "thinking") or {"type": "disabled"}
    if thinking.get("type") not in ("enabled", "disabled", "adaptive", "between_tools"):
        refuse("thinking", "Input tag does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'")
    if thinking["type"] == "enabled":
        _integer(thinking, "budget_tokens", 1024)
        if thinking["budget_tokens"] >= body["max_tokens"]:
            refuse("", "`max_tokens` must be greater than `thinking.budget_tokens`.")
    if thinking["type"] != "disabled" and body.get("temperature", 1) != 1:
        refuse("", "`temperature` may only be set to 1 when thinking is enabled.")
    for stop in _list(body, "stop_sequences"):
        if not isinstance(stop, str) or not stop.strip():
            refuse("stop_sequences", "each stop sequence must contain non-whitespace")
    metadata = _object(body, "metadata")
    for name in metadata or ():
        if name != "user_id":
            refuse(f"metadata.{name}", "Extra inputs are not permitted")
    if body.get("service_tier", "auto") not in ("auto", "standard_only"):
        refuse("service_tier", "Input should be 'auto' or 'standard_only'")
    if not isinstance(body.get("stream", False), bool):
        refuse("stream", "Input should be a valid boolean")
    _check_output(body)
    _check_tools(body, thinks=thinking["type"] != "disabled")
    marked = _check_system(body.get("system")) + _check_messages(body["messages"])
    marked += sum(bool(tool.get("cache_control")) for tool in body.get("tools") or ()) + bool(body.get("cache_control"))
    if marked > _MOST_BREAKPOINTS:
        refuse("", f"A maximum of {_MOST_BREAKPOINTS} blocks with cache_control may be provided. Found {marked}.")


def _check_sampling(body: Mapping[str, Any]) -> None:
    for name in SAMPLING:
        value = body.get(name)
        if value is None:
            continue
        if type(value) not in (int, float):
            refuse(name, "Input should be a valid number")
        if name != "top_k" and not 0 <= value <= 1:
            refuse(name, "Input should be between 0 and 1")
        if _WITHOUT_SAMPLING.match(body["model"]):
            refuse("", f"`{name}` is deprecated for this model.")


def _check_output(body: Mapping[str, Any]) -> None:
    config = _object(body, "output_config") or {}
    for name in config:
        if name not in ("effort", "format"):
            refuse(f"output_config.{name}", "Extra inputs are not permitted")
    if config.get("effort") is not None and config["effort"] not in _EFFORTS:
        refuse("output_config.effort", f"Input should be {', '.join(map(repr, _EFFORTS))}")
    wanted = _object(config, "format")
    if wanted is None:
        return
    if wanted.get("type") != "json_schema" or not isinstance(wanted.get("schema"), dict):
        refuse("output_config.format", "a format has type 'json_schema' and a schema")
    if _WITHOUT_FORMATS.match(body["model"]):
        refuse("", f"'{body['model']}' does not support output format.")
    _check_format("output_config.format.schema", wanted["schema"])


@remembered
def _check_format(where: str, schema: Any) -> None:
    """Refuse (400) a schema that structured outputs do not take."""
    _check_schema(where, schema)


def _check_schema(where: str, schema: Any) -> None:
    if not isinstance(schema, dict) or not schema:
        refuse(where, "a schema is an object with a type")
    kind = schema.get("type")
    extra = sorted(schema.keys() - _SCHEMA_KEYS)
    if extra:
        refuse(where, f"For '{kind}' type, properties {', '.join(extra)} are not supported")
    if wrong := [name for name, value in schema.items() if not is_well_typed(name, value)]:
        refuse(where, f"'{wrong[0]}' has a value that it cannot have")
    if schema.get("minItems", 0) not in (0, 1):
        refuse(where, "For 'array' type, 'minItems' values other than 0 or 1 are not supported")
    if kind == "object" and schema.get("additionalProperties") is not False:
        refuse(where, "For 'object' type, 'additionalProperties' must be explicitly set to false")
    inner = [*schema.get("anyOf", ()), *schema.get("allOf", ())]
    for name in ("properties", "$defs", "definitions"):
        inner += schema.get(name, {}).values()
    if "items" in schema:
        inner.append(schema["items"])
    for part in inner:
        _check_schema(where, part)


def _check_tools(body: Mapping[str, Any], *, thinks: bool) -> None:
    tools = _list(body, "tools")
    names = set()
    for i, tool in enumerate(tools):
        place = f"tools.{i}.custom"
        if not isinstance(tool, dict):
            refuse(place, "Input should be an object")
        if tool.get("type", "custom") != "custom":  # a tool of Anthropic's own
            continue
        if not isinstance(tool.get("name"), str) or not _NAME.fullmatch(tool["name"]):
            refuse(f"{place}.name", "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'")
        schema = tool.get("input_schema")
        if not isinstance(schema, dict):
            refuse(f"{place}.input_schema", "Field required")
        if schema.get("type") != "object":
            refuse(f"{place}.input_schema.type", "Input should be 'object'")
        if "parameters" in tool or "function" in tool:
            refuse(f"{place}.function", "Extra inputs are not permitted")
        if tool["name"] in names:
            refuse("tools", "Tool names must be unique.")
        names.add(tool["name"])
    choice = _object(body, "tool_choice")
    if choice is None:
        return
    if choice.get("type") not in ("auto", "any", "tool", "none"):
        refuse("tool_choice", "Input tag does not match any of the expected tags: 'auto', 'any', 'tool', 'none'")
    if not tools:
        refuse("", "tool_choice may only be specified while providing tools.")
    if choice["type"] == "tool" and choice.get("name") not in names:
        refuse("", f"Tool '{choice.get('name')}' not found in provided tools")
    if choice["type"] == "none" and "disable_parallel_tool_use" in choice:
        refuse("tool_choice.none.disable_parallel_tool_use", "Extra inputs are not permitted")
    if thinks and choice["type"] in ("any", "tool"):
        refuse("", "Thinking may not be enabled when tool_choice forces tool use.")


def _check_system(system: Any) -> int:
    """How many blocks are to be cached."""
    if system is None or isinstance(system, str):
        return 0
    if not isinstance(system, list):
        refuse("system", "Input should be a valid list")
    return sum(_check_block(f"system.{i}", block, frozenset({"text"})) for i, block in enumerate(system))


def _check_messages(messages: Any) -> int:
    if not isinstance(messages, list):
        refuse("messages", "Input should be a valid list")
    if not messages:
        refuse("messages", "at least one message is required")
    waiting: set[str] = set()
    marked = 0
    for i, message in enumerate(messages):
        if not isinstance(message, dict):
            refuse(f"messages.{i}", "Input should be an object")
        role, content = message.get("role"), message.get("content")
        if role == "system":
            refuse("messages", 'Unexpected role "system". The Messages API accepts a top-level `system` parameter, not '
                   '"system" as an input message role.')  # fmt: skip
        if not isinstance(role, str) or role not in _BLOCKS:
            refuse(f"messages.{i}.role", "Input should be 'user' or 'assistant'")
        for name in message:
            if name not in ("role", "content"):
                refuse(f"messages.{i}.{name}", "Extra inputs are not permitted")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not isinstance(blocks, list):
            refuse(f"messages.{i}.content", "Input should be a valid list")
        last = i == len(messages) - 1
        if (not blocks or content == "") and not (last and role == "assistant"):
            refuse(f"messages.{i}", "all messages must have non-empty content except for the optional final assistant "
                   "message")  # fmt: skip
        if content != "":
            marked += sum(
                _check_block(f"messages.{i}.content.{j}", block, _BLOCKS[role]) for j, block in enumerate(blocks)
            )
        waiting = _check_tool_turn(i, blocks, waiting)
    if waiting:
        refuse(f"messages.{len(messages) - 1}", "`tool_use` ids were found without `tool_result` blocks immediately "
               f"after: {', '.join(sorted(waiting))}.")  # fmt: skip
    if messages[0]["role"] != "user":
        refuse("messages", 'first message must use the "user" role')
    ending = messages[-1]["content"]
    if messages[-1]["role"] == "assistant" and isinstance(ending, str) and ending != ending.rstrip():
        refuse("messages", "final assistant content cannot end with trailing whitespace")
    return marked


def _check_tool_turn(i: int, blocks: Sequence[Mapping[str, Any]], waiting: set[str]) -> set[str]:
    """The calls that the next message has to answer."""
    answered = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
    if waiting - answered:
        refuse(f"messages.{i - 1}", "`tool_use` ids were found without `tool_result` blocks immediately after: "
               f"{', '.join(sorted(waiting - answered))}.")  # fmt: skip
    for j, block in enumerate(blocks):
        if block["type"] == "tool_result" and block["tool_use_id"] not in waiting:
            refuse(f"messages.{i}.content.{j}", "unexpected `tool_use_id` found in `tool_result` blocks: "
                   f"{block['tool_use_id']}.")  # fmt: skip
    return {block["id"] for block in blocks if block["type"] == "tool_use"}


def _check_block(place: str, block: Any, allowed: frozenset[str]) -> bool:
    """Whether the block is to be cached."""
    kind = block.get("type") if isinstance(block, dict) else None
    if kind not in allowed:
        refuse(place, f"Input tag '{kind}' found does not match any of the expected tags: {', '.join(sorted(allowed))}")
    for name in _FIELDS.get(kind, ()):
        if name not in block:
            refuse(f"{place}.{kind}.{name}", "Field required")
    if kind == "text" and (not isinstance(block["text"], str) or not block["text"]):
        refuse("messages", "text content blocks must be non-empty")
    if kind == "text" and not block["text"].strip():
        refuse("messages", "text content blocks must contain non-whitespace text")
    if kind == "image":
        _check_image(f"{place}.image.source", block["source"])
    if kind == "tool_use" and not isinstance(block["input"], dict):
        refuse(f"{place}.tool_use.input", "Input should be an object")
    if kind == "tool_result" and isinstance(block.get("content"), list):
        for j, inner in enumerate(block["content"]):
            _check_block(f"{place}.tool_result.content.{j}", inner, frozenset({"text", "image", "document"}))
    return bool(block.get("cache_control"))


def _check_image(place: str, source: Any) -> None:
    kind = source.get("type") if isinstance(source, dict) else None
    if kind == "url" and isinstance(source.get("url"), str) and source["url"].startswith(("https://", "http://")):
        return
    if kind == "file":
        return
    if kind != "base64" or not isinstance(source.get("data"), str):
        refuse(place, "Input tag does not match any of the expected tags: 'base64', 'url', 'file'")
    if source.get("media_type") not in _IMAGES:
        refuse(f"{place}.base64.media_type", f"Input should be {', '.join(map(repr, _IMAGES))}")


def _integer(body: Mapping[str, Any], name: str, least: int) -> None:
    value = body.get(name)
    if type(value) is not int:
        refuse(name, "Input should be a valid integer")
    if value < least:
        refuse(name, f"Input should be greater than or equal to {least}")


def _object(body: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    value = body.get(name)
    if value is not None and not isinstance(value, dict):
        refuse(name, "Input should be an object")
    return value


def _list(body: Mapping[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if value is not None and not isinstance(value, list):
        refuse(name, "Input should be a valid list")
    return value or []
