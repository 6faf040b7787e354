"""What Cohere takes of a request to `/v2/chat` and `/v2/embed`, and how it refuses the rest. Knows no answer.

Source: Cohere's OpenAPI description, and the messages listed on its page of errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiq.simulator.checks import Check, anything
from aiq.simulator.refusal import VendorError

_TOOL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ROLES = ("user", "assistant", "system", "tool")
_PARTS = {"user": ("text", "image_url"), "assistant": ("text", "thinking"), "system": ("text",)}
_PARTS["tool"] = ("text", "document")
_MOST_TEXTS = 96
_DIMENSIONS = (256, 512, 1024, 1536)
_UNSUPPORTED = frozenset(
    {
        "allOf", "oneOf", "not", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems",
        "maxItems", "uniqueItems", "minLength", "maxLength",
    }
)  # fmt: skip
"""JSON schema keywords."""
_NO_PATTERN = re.compile(r"[\^$]|\?[=!]")
_SCHEMA_FORMATS = ("date-time", "uuid", "date", "time")
FORMS = ("float", "int8", "uint8", "binary", "ubinary", "base64")
"""Of embeddings."""


def bad(words: str) -> VendorError:
    """A 400, as most are."""
    return VendorError(400, f"invalid request: {words}")


def check_chat(body: Mapping[str, Any]) -> None:
    """Refuse (400, or 422 for a field that is none) what `/v2/chat` does not take."""
    _check(body, _CHAT)
    _check_messages(body.get("messages"))
    if body.get("frequency_penalty") and body.get("presence_penalty"):
        raise bad("cannot specify both frequency_penalty and presence_penalty.")
    tools, wanted = body.get("tools"), body.get("response_format")
    if body.get("tool_choice") is not None and not tools:
        raise bad("tool_choice can only be specified together with tools.")
    if body.get("strict_tools") and not all(_required(tool["function"]["parameters"]) for tool in tools or ()):
        raise bad("strict_tools needs at least one required parameter in each tool.")
    if isinstance(wanted, dict) and wanted["type"] == "json_object":
        if tools:
            raise bad("response_format is not supported with tools.")
        if body.get("documents"):
            raise bad("response_format is not supported with RAG.")


def check_embed(body: Mapping[str, Any]) -> None:
    """Refuse (400, or 422 for a field that is none) what `/v2/embed` does not take."""
    _check(body, _EMBED)
    texts = body.get("texts")
    if not isinstance(texts, list) or not texts:
        raise bad("must provide at least one of texts, images or inputs.")
    if len(texts) > _MOST_TEXTS:
        raise bad(f"total number of texts must be at most {_MOST_TEXTS} - received {len(texts)}")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise bad(f"texts contains an element that is not a string at index {index}")
        if not text:
            raise bad(f"inputs contains an element that is the empty string at index {index}")
    if "input_type" not in body:
        raise bad("valid input_type must be provided with the provided model")


def _check(body: Mapping[str, Any], checks: Mapping[str, Check]) -> None:
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise VendorError(400, "a model parameter is required for this endpoint.")
    for name, value in body.items():
        check = checks.get(name)
        if check is None:
            raise VendorError(422, f"unknown field: parameter '{name}' is not a valid field")
        if value is not None:
            check(name, value)


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise bad("messages must not be empty.")
    called: set[str] = set()
    for index, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in _ROLES:
            raise bad(f"invalid role in messages at index {index}. Role must be one of: {', '.join(_ROLES)}")
        known = {"role", "content"} | {"assistant": {"tool_calls", "tool_plan", "citations"}}.get(role, set())
        known |= {"tool_call_id"} if role == "tool" else set()
        for name in message:
            if name not in known:
                raise VendorError(422, f"unknown field: parameter 'messages.{index}.{name}' is not a valid field")
        content = message.get("content")
        if isinstance(content, list):
            _check_parts(index, role, content)
        elif content is not None and not isinstance(content, str):
            raise bad(f"content of the message at index {index} must be a string or a list of content blocks.")
        if not content and not message.get("tool_calls"):
            raise VendorError(400, "message must not be empty in a turn")
        if role == "tool":
            identity = message.get("tool_call_id")
            if not identity:
                raise VendorError(400, "tool call id must be provided with tool message")
            if identity not in called:
                raise VendorError(400, "tool call id not found in previous tool calls")
        for call in message.get("tool_calls") or ():
            called.add(_check_call(call))


def _check_parts(index: int, role: str, content: list[Any]) -> None:
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in _PARTS[role]:
            raise bad(f"content block of type '{kind}' is not allowed in a message of role {role} (index {index}).")
        if kind == "text" and not isinstance(part.get("text"), str):
            raise bad(f"a text block of the message at index {index} needs a text.")
        if kind == "image_url":
            image = part.get("image_url")
            url = image.get("url") if isinstance(image, dict) else None
            if not isinstance(url, str) or not url.startswith(("data:image/", "https://", "http://")):
                raise bad(f"an image of the message at index {index} needs a data URI or a web URL.")


def _check_call(call: Any) -> str:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or call.get("type") != "function":
        raise VendorError(400, "tool call must be of type function")
    if not all(isinstance(text, str) for text in (call.get("id"), function.get("name"), function.get("arguments"))):
        raise bad("a tool call needs an id, a name and arguments.")
    identity: str = call["id"]
    return identity


def _boolean(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise bad(f"{name} must be a boolean.")


def _number(low: float, high: float, *, integer: bool = False) -> Check:
    def check(name: str, value: Any) -> None:
        if type(value) is not int and (integer or type(value) is not float):
            raise bad(f"{name} must be {'an integer' if integer else 'a number'}.")
        if not low <= value <= high:
            raise bad(f"{name} must be between {low} and {high} inclusive.")

    return check


def _one_of(*allowed: str) -> Check:
    def check(name: str, value: Any) -> None:
        if value not in allowed:
            raise bad(f"{name} must be one of {', '.join(allowed)}.")

    return check


def _stop(name: str, value: Any) -> None:
    if not isinstance(value, list) or len(value) > 5 or not all(isinstance(text, str) for text in value):
        raise bad("stop_sequences must be a list of at most 5 strings.")


def _thinking(name: str, value: Any) -> None:
    if not isinstance(value, dict) or value.get("type") not in ("enabled", "disabled"):
        raise bad("thinking.type must be one of enabled, disabled.")
    budget = value.get("token_budget")
    if budget is not None and (type(budget) is not int or budget < 1):
        raise bad("thinking.token_budget must be a positive integer.")


def _tools(name: str, value: Any) -> None:
    if not isinstance(value, list) or not value:
        raise bad("tools must be a list of tools.")
    for tool in value:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or tool.get("type") != "function":
            raise bad("tool must be of type function")
        named = function.get("name")
        if not isinstance(named, str) or not _TOOL_NAME.fullmatch(named):
            raise bad(
                "tool names can only contain certain characters (A-Za-z0-9_) and can't begin with a digit "
                f"(provided name: '{named}')."
            )
        if not isinstance(function.get("parameters"), dict):
            raise bad(f"tool '{named}' must have parameters, a JSON schema.")
        for field in function:
            if field not in ("name", "description", "parameters"):
                raise VendorError(422, f"unknown field: parameter 'tools.function.{field}' is not a valid field")


def _response_format(name: str, value: Any) -> None:
    if not isinstance(value, dict) or value.get("type") not in ("text", "json_object"):
        raise bad("response_format.type must be one of text, json_object.")
    schema = value.get("json_schema", value.get("schema"))
    if schema is None:
        return
    if value["type"] == "text":
        raise bad("json_schema must not be specified when the type is text.")
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise VendorError(400, "schema must be an object")
    _check_schema(schema)


def _check_schema(schema: Any) -> None:
    """Objects need a required property, and properties a type. Source: the guide's schema constraints."""
    if not isinstance(schema, dict):
        raise VendorError(400, "schema must be an object")
    for keyword in _UNSUPPORTED & schema.keys():
        raise VendorError(400, f"the schema keyword '{keyword}' is not supported")
    if _NO_PATTERN.search(schema.get("pattern", "")) or schema.get("format", "date") not in _SCHEMA_FORMATS:
        raise VendorError(400, "this pattern or format is not supported")
    for child in (*schema.get("anyOf", ()), *schema.get("$defs", {}).values()):
        _check_schema(child)
    properties = schema.get("properties", {} if schema.get("type") == "object" else None)
    if isinstance(properties, dict):
        if not _required(schema):
            raise VendorError(400, "at least one required field must be specified")
        for field in schema["required"]:
            if field not in properties:
                raise VendorError(400, "required field name not found in properties")
        for title, child in properties.items():
            if isinstance(child, dict) and not child.keys() & {"type", "$ref", "anyOf", "enum", "const"}:
                raise VendorError(400, f"property {title} must have a type")
            _check_schema(child)
    if "items" in schema:
        _check_schema(schema["items"])


def _required(schema: Mapping[str, Any]) -> bool:
    required = schema.get("required")
    return isinstance(required, list) and bool(required)


def _forms(name: str, value: Any) -> None:
    if not isinstance(value, list) or not value or not all(form in FORMS for form in value):
        raise bad(f"embedding_types must be a list of {', '.join(FORMS)}.")


def _dimension(name: str, value: Any) -> None:
    if value not in _DIMENSIONS:
        raise bad(f"output_dimension must be one of {', '.join(map(str, _DIMENSIONS))}.")


_CHAT: dict[str, Check] = {
    "model": anything,
    "messages": anything,
    "stream": _boolean,
    "tools": _tools,
    "strict_tools": _boolean,
    "documents": anything,
    "citation_options": anything,
    "response_format": _response_format,
    "safety_mode": _one_of("CONTEXTUAL", "STRICT", "OFF"),
    "max_tokens": _number(1, 2**31, integer=True),
    "stop_sequences": _stop,
    "temperature": _number(0, 1.0),
    "seed": _number(0, 2**64, integer=True),
    "frequency_penalty": _number(0, 1),
    "presence_penalty": _number(0, 1),
    "k": _number(0, 500, integer=True),
    "p": _number(0.01, 0.99),
    "logprobs": _boolean,
    "tool_choice": _one_of("REQUIRED", "NONE"),
    "thinking": _thinking,
    "priority": _number(0, 999, integer=True),
}
_EMBED: dict[str, Check] = {
    "model": anything,
    "texts": anything,
    "input_type": _one_of("search_document", "search_query", "classification", "clustering"),
    "embedding_types": _forms,
    "output_dimension": _dimension,
    "truncate": _one_of("NONE", "START", "END"),
    "max_tokens": _number(1, 2**31, integer=True),
    "priority": _number(0, 999, integer=True),
}
