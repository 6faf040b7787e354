"""Whether a body of Converse is what Bedrock accepts, in its words. Knows no answer.

Source: the Amazon Bedrock API reference (Converse) and the messages of its ValidationException.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import orjson

from aiq.simulator.checks import Check
from aiq.simulator.refusal import VendorError

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TOOL_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}")
_MAGIC = {"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff", "gif": b"GIF8", "webp": b"RIFF"}
_TOKEN_LIMITS = {"meta.llama3-8b": 2048, "meta.llama3-70b": 2048, "amazon.nova": 10_000}
"""The longest answers of some models."""
_NO_TEXT_FORMAT = ("claude-3", "claude-instant", "claude-v2", "amazon.", "meta.", "ai21.", "cohere.")
"""Models without structured output, by a part of their ids."""
_NO_TOOL_CHOICE = ("meta.", "cohere.")
"""Models that choose for themselves whether they call a tool."""
_NO_TOOLS = ("titan-text", "meta.llama3-8b", "meta.llama3-70b")
"""Models that call none."""


def invalid(words: str) -> VendorError:
    """A 400 in Bedrock's form."""
    return VendorError(400, words, kind="ValidationException")


def _fails(path: str, value: Any, constraint: str) -> NoReturn:
    raise invalid(
        f"1 validation error detected: Value '{value}' at '{path}' failed to satisfy constraint: {constraint}"
    )


def _number(low: float, high: float | None = None, *, integer: bool = False) -> Check:
    def check(path: str, value: Any) -> None:
        if type(value) not in ((int,) if integer else (int, float)):
            raise VendorError(400, f"{path}: NUMBER_VALUE expected", kind="SerializationException")
        if value < low:
            _fails(path, value, f"Member must have value greater than or equal to {low}")
        if high is not None and value > high:
            _fails(path, value, f"Member must have value less than or equal to {high}")

    return check


def _text(low: int = 0, pattern: re.Pattern[str] | None = None) -> Check:
    def check(path: str, value: Any) -> None:
        if not isinstance(value, str):
            raise VendorError(400, f"{path}: STRING_VALUE expected", kind="SerializationException")
        if len(value) < low:
            _fails(path, value, f"Member must have length greater than or equal to {low}")
        if pattern is not None and not pattern.fullmatch(value):
            _fails(path, value, f"Member must satisfy regular expression pattern: {pattern.pattern}")

    return check


def _one_of(*allowed: str) -> Check:
    def check(path: str, value: Any) -> None:
        if value not in allowed:
            _fails(path, value, f"Member must satisfy enum value set: [{', '.join(allowed)}]")

    return check


def _list_of(check_item: Check, low: int = 0, high: int | None = None) -> Check:
    def check(path: str, value: Any) -> None:
        if not isinstance(value, list):
            raise VendorError(400, f"{path}: expected a list", kind="SerializationException")
        if len(value) < low:
            _fails(path, value, f"Member must have length greater than or equal to {low}")
        if high is not None and len(value) > high:
            _fails(path, "list", f"Member must have length less than or equal to {high}")
        for index, item in enumerate(value):
            check_item(f"{path}.{index}", item)

    return check


def _map(path: str, value: Any) -> None:
    if not isinstance(value, dict):
        raise VendorError(400, f"{path}: expected a map", kind="SerializationException")


def _boolean(path: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise VendorError(400, f"{path}: BOOLEAN_VALUE expected", kind="SerializationException")


def _struct(members: Mapping[str, Check], required: Sequence[str] = (), *, union: bool = False) -> Check:
    """An object with no other members; of a `union` exactly one."""

    def check(path: str, value: Any) -> None:
        _map(path or "the body", value)
        for name in required:
            if value.get(name) is None:
                _fails(f"{path}.{name}".lstrip("."), "null", "Member must not be null")
        if union and len(value) != 1:
            raise invalid(f"Invalid union structure at '{path}': exactly one of {', '.join(members)} is expected")
        for name, item in value.items():
            if name not in members:
                raise invalid(f"{path or 'the body'}: extraneous key [{name}] is not permitted")
            members[name](f"{path}.{name}".lstrip("."), item)

    return check


def _image_bytes(path: str, value: Any) -> None:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise VendorError(400, f"{path}: not base64", kind="SerializationException") from None


_CACHE_POINT = _struct({"type": _one_of("default"), "ttl": _one_of("5m", "1h")}, ["type"])
_IMAGE = _struct(
    {
        "format": _one_of("png", "jpeg", "gif", "webp"),
        "source": _struct({"bytes": _image_bytes}, union=True),
    },
    ["format", "source"],
)
_BYTES = _struct({"bytes": _image_bytes}, union=True)
_DOCUMENT = _struct(
    {
        "format": _one_of("pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"),
        "name": _text(1, re.compile(r"[A-Za-z0-9 ()\[\]-]{1,200}")),
        "source": _BYTES,
    },
    ["format", "name", "source"],
)
_AUDIO = _struct({"format": _one_of("mp3", "wav", "flac", "ogg", "m4a", "aac"), "source": _BYTES}, ["format", "source"])
_RESULT = _struct(
    {
        "toolUseId": _text(1, _TOOL_ID),
        "content": _list_of(_struct({"text": _text(), "json": _map, "image": _IMAGE}, union=True)),
        "status": _one_of("success", "error"),
    },
    ["toolUseId", "content"],
)
_REASONING = _struct(
    {"reasoningText": _struct({"text": _text(), "signature": _text()}, ["text"]), "redactedContent": _text()},
    union=True,
)
_BLOCK = _struct(
    {
        "text": _text(),
        "image": _IMAGE,
        "document": _DOCUMENT,
        "audio": _AUDIO,
        "toolUse": _struct(
            {"toolUseId": _text(1, _TOOL_ID), "name": _text(1, _TOOL_NAME), "input": _map},
            ["toolUseId", "name", "input"],
        ),
        "toolResult": _RESULT,
        "cachePoint": _CACHE_POINT,
        "reasoningContent": _REASONING,
    },
    union=True,
)
_TOOL = _struct(
    {
        "toolSpec": _struct(
            {
                "name": _text(1, _TOOL_NAME),
                "description": _text(1),
                "inputSchema": _struct({"json": _map}, union=True),
                "strict": _boolean,
            },
            ["name", "inputSchema"],
        ),
        "cachePoint": _CACHE_POINT,
    },
    union=True,
)
_CHOICE = _struct({"auto": _map, "any": _map, "tool": _struct({"name": _text(1, _TOOL_NAME)}, ["name"])}, union=True)
_JSON_SCHEMA = _struct({"schema": _text(), "name": _text(), "description": _text()}, ["schema"])
_METADATA_TEXT = _text(0, _METADATA)


def _request_metadata(path: str, value: Any) -> None:
    _map(path, value)
    if not 1 <= len(value) <= 16:
        _fails(path, "map", "Member must have length between 1 and 16")
    for name, item in value.items():
        _METADATA_TEXT(f"{path}.key", name)
        _METADATA_TEXT(f"{path}.{name}", item)


_BODY = _struct(
    {
        "messages": _list_of(
            _struct({"role": _one_of("user", "assistant"), "content": _list_of(_BLOCK)}, ["role", "content"])
        ),
        "system": _list_of(_struct({"text": _text(1), "cachePoint": _CACHE_POINT}, union=True)),
        "inferenceConfig": _struct(
            {
                "maxTokens": _number(1, integer=True),
                "temperature": _number(0, 1),
                "topP": _number(0, 1),
                "stopSequences": _list_of(_text(1), 0, 2500),
            }
        ),
        "toolConfig": _struct({"tools": _list_of(_TOOL, 1), "toolChoice": _CHOICE}, ["tools"]),
        "outputConfig": _struct(
            {
                "textFormat": _struct(
                    {"type": _one_of("json_schema"), "structure": _struct({"jsonSchema": _JSON_SCHEMA}, union=True)},
                    ["type", "structure"],
                ),
                "effort": _one_of("low", "medium", "high", "xhigh", "max"),
            }
        ),
        "guardrailConfig": _map,
        "performanceConfig": _struct({"latency": _one_of("standard", "optimized")}),
        "serviceTier": _struct({"type": _one_of("priority", "default", "flex", "reserved")}, ["type"]),
        "requestMetadata": _request_metadata,
        "promptVariables": _map,
        "additionalModelRequestFields": _map,
        "additionalModelResponseFieldPaths": _list_of(_text(1), 0, 10),
    }
)


def check_converse(body: dict[str, Any], model: str) -> None:
    """Refuse what Converse would not take."""
    _BODY("", body)
    tokens = body.get("inferenceConfig", {}).get("maxTokens")
    for part, limit in _TOKEN_LIMITS.items():
        if part in model and tokens is not None and tokens > limit:
            raise invalid(
                f"The maximum tokens you requested exceeds the model limit of {limit}. Try again with a maximum "
                f"tokens value that is lower than {limit}."
            )
    if "toolConfig" in body and any(part in model for part in _NO_TOOLS):
        raise invalid("This model doesn't support tool use.")
    for choice in body.get("toolConfig", {}).get("toolChoice", {}):
        if choice != "auto" and any(part in model for part in _NO_TOOL_CHOICE):
            field = f"toolConfig.toolChoice.{choice}"
            raise invalid(f"This model doesn't support the {field} field. Remove {field} and try again.")
    _check_turns(body.get("messages") or [], has_tools="toolConfig" in body)
    text_format = body.get("outputConfig", {}).get("textFormat")
    if text_format is not None:
        if any(part in model for part in _NO_TEXT_FORMAT):
            raise invalid(
                "This model doesn't support the outputConfig.textFormat field. Remove outputConfig.textFormat and try "
                "again."
            )
        schema_of(body)


def schema_of(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema that the answer has to follow. Refuses one that cannot be followed."""
    text_format = body.get("outputConfig", {}).get("textFormat")
    if text_format is None:
        return None
    try:
        schema = orjson.loads(text_format["structure"]["jsonSchema"]["schema"])
    except ValueError:
        raise invalid("outputConfig.textFormat.structure.jsonSchema.schema: not valid JSON") from None
    if not isinstance(schema, dict):
        raise invalid("outputConfig.textFormat.structure.jsonSchema.schema: expected an object")
    _check_closed(schema)
    return schema


def _check_closed(schema: Any) -> None:
    """Constrained decoding knows no object with members that the schema does not name."""
    if isinstance(schema, list):
        for item in schema:
            _check_closed(item)
    elif isinstance(schema, dict):
        if "properties" in schema and schema.get("additionalProperties") is not False:
            raise invalid("output_config.format.schema: For 'object' type, 'additionalProperties' must be false")
        for item in schema.values():
            _check_closed(item)


def _check_turns(messages: Sequence[Mapping[str, Any]], *, has_tools: bool) -> None:
    if not messages or messages[0]["role"] != "user":
        raise invalid(
            "A conversation must start with a user message. Try again with a conversation that starts with a user "
            "message."
        )
    waiting: set[str] = set()
    for index, message in enumerate(messages):
        if index and messages[index - 1]["role"] == message["role"]:
            raise invalid(
                "A conversation must alternate between user and assistant roles. Make sure the conversation alternates "
                "between user and assistant roles and try again."
            )
        if not message["content"]:
            raise invalid(
                f"The content field in the Message object at messages.{index} is empty. Add a ContentBlock object to "
                "the content field and try again."
            )
        answered: set[str] = set()
        asked: set[str] = set()
        for position, block in enumerate(message["content"]):
            if not has_tools and ("toolUse" in block or "toolResult" in block):
                raise invalid("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
            _check_block(f"messages.{index}.content.{position}", block)
            if "toolUse" in block:
                asked.add(block["toolUse"]["toolUseId"])
            if "toolResult" in block:
                answered.add(block["toolResult"]["toolUseId"])
        if waiting - answered:
            missing = ", ".join(sorted(waiting - answered))
            raise invalid(f"Expected toolResult blocks at messages.{index}.content for the following Ids: {missing}")
        if answered - waiting:
            raise invalid(
                f"The number of toolResult blocks at messages.{index}.content exceeds the number of toolUse blocks of "
                "previous turn."
            )
        waiting = asked


def _check_block(path: str, block: Mapping[str, Any]) -> None:
    if "text" in block and not block["text"].strip():
        raise invalid(
            f"The text field in the ContentBlock object at {path} is blank. Add text to the text field, and try again."
        )
    if "image" in block:
        image = block["image"]
        if not base64.b64decode(image["source"]["bytes"]).startswith(_MAGIC[image["format"]]):
            raise invalid("Could not process image")
