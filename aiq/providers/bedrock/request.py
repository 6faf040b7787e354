"""A chat in OpenAI's form as the body of Bedrock's Converse. Must never know who sends it, or what comes back.

Source: the Amazon Bedrock API reference (Converse, ToolConfiguration, OutputConfig) and the SDK's service model.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, NoReturn

import orjson

from aiq.providers.anthropic.schema import native_schema
from aiq.providers.bedrock.errors import Refused
from aiq.providers.wire.openai_form import data_url

DEFAULT_MAX_TOKENS = 4096
"""Sent where a request says nothing: Bedrock reserves so many tokens of the quota, by default the model's longest."""
ANSWER_TOOL = "aiq_json_answer"
"""The tool that a model without structured output is made to call with its answer."""

Refuse = Callable[[str], NoReturn]
"""Says before a call what the provider cannot do: `has no ...`, after its name."""

HONOURED = frozenset(
    {
        "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "n", "tools", "tool_choice",
        "parallel_tool_calls", "response_format", "reasoning_effort", "service_tier", "metadata",
    }
)  # fmt: skip
"""OpenAI's parameters that have a meaning here."""

_CONVERSE = frozenset(
    {
        "additionalModelResponseFieldPaths", "guardrailConfig", "performanceConfig", "promptVariables",
        "requestMetadata", "serviceTier",
    }
)  # fmt: skip
"""Converse's own fields next to the messages."""

OWN = _CONVERSE | {"additionalModelRequestFields", "thinking", "top_k"}
"""Parameters that OpenAI does not have. Whatever else is in a body goes to the model as it is."""

_TRANSLATED = HONOURED | {"messages", "model", "stream", "stream_options", "additionalModelRequestFields", "top_k"}
_PLAIN = {"messages", "max_tokens", "temperature", "top_p", "stop", "n"}
"""Most requests of a statement have no more than these."""
_IMAGE_FORMATS = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_EFFORTS = {"minimal": "low"}
_JSON_INSTRUCTION = "Answer with one JSON object and with nothing else: no Markdown, no words around it."
_ANSWER_DESCRIPTION = "Gives the answer to the user. Call it once, with the whole answer."
_NO_ARGUMENTS = {"type": "object", "properties": {}}
ANY_OBJECT = {"type": "object"}
MAX_SCHEMAS = 256
"""Schemas that are kept as they are sent."""


class Learnt:
    """What a model has said that it does not take, and the schemas that it was asked for."""

    __slots__ = ("_schemas", "max_tokens", "refused")

    def __init__(self) -> None:
        self._schemas: dict[bytes, str | None] = {}
        self.refused: set[Refused] = set()
        self.max_tokens = DEFAULT_MAX_TOKENS
        """What is sent where a request says nothing."""

    def schema_text(self, schema: Any) -> str | None:
        """A schema as `textFormat` takes it, None where it cannot be followed so. A statement has one for all rows."""
        written = orjson.dumps(schema)
        if written not in self._schemas:
            if len(self._schemas) >= MAX_SCHEMAS:
                self._schemas.clear()
            native = native_schema(schema)
            self._schemas[written] = None if native is None else orjson.dumps(native).decode()
        return self._schemas[written]

    def by_tool(self, body: dict[str, Any]) -> bool:
        """Whether the answer to a request is what a tool is called with."""
        return wants_schema(body) and "tools" not in self.refused and self.schema_of(body) is None

    def schema_of(self, body: dict[str, Any]) -> str | None:
        """The schema that goes into `textFormat`; None where there is none, or a tool has to be called instead."""
        if "text_format" in self.refused or not wants_schema(body):
            return None
        return self.schema_text(body["response_format"]["json_schema"].get("schema") or ANY_OBJECT)


def converse_body(body: dict[str, Any], vendor: str, learnt: Learnt, refuse: Refuse) -> dict[str, Any]:
    """The body of Converse. `vendor` made the model, and names some parameters in its own way."""
    system: list[dict[str, Any]] = []
    messages = body["messages"]
    first = messages[0]
    if len(messages) == 1 and first["role"] == "user" and type(first["content"]) is str:
        converse: dict[str, Any] = {"messages": [{"role": "user", "content": [{"text": first["content"]}]}]}
    else:
        converse = {"messages": _messages(messages, system, refuse)}
    converse["inferenceConfig"] = _inference(body, learnt, refuse)
    more: dict[str, Any] = {}
    if not body.keys() <= _PLAIN or len(messages) > 1:
        more |= {name: value for name, value in body.items() if name not in _TRANSLATED and name not in _CONVERSE}
        for name in _CONVERSE & body.keys():
            converse[name] = body[name]
        _options(body, converse, more, vendor, refuse)
        _answer_format(body, converse, learnt, refuse)
        if "tools" in body or _uses_tools(converse["messages"]):
            _add_tools(body, converse, more, vendor, refuse)
    if system:
        converse["system"] = system
    if more:
        converse["additionalModelRequestFields"] = more
    return converse


def wants_schema(body: dict[str, Any]) -> bool:
    """Whether the answer has to follow a JSON schema."""
    response_format = body.get("response_format")
    return isinstance(response_format, dict) and response_format.get("type") == "json_schema"


def _inference(body: dict[str, Any], learnt: Learnt, refuse: Refuse) -> dict[str, Any]:
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    if most is None:
        budget = _thinking(body).get("budget_tokens")  # which is a part of it
        most = learnt.max_tokens + (budget if isinstance(budget, int) else 0)
    inference = {"maxTokens": most}
    if body.get("temperature") is not None:
        inference["temperature"] = body["temperature"]
    if body.get("top_p") is not None:
        inference["topP"] = body["top_p"]
    stop = body.get("stop")
    if stop:
        inference["stopSequences"] = [stop] if isinstance(stop, str) else stop
    if body.get("n", 1) not in (1, None):
        refuse(f"gives one answer a call, not {body['n']}: leave n out")
    return inference


def _options(body: dict[str, Any], converse: dict[str, Any], more: dict[str, Any], vendor: str, refuse: Refuse) -> None:
    own = body.get("additionalModelRequestFields")
    if own is not None:
        if not isinstance(own, dict):
            refuse("takes a STRUCT or a MAP as additionalModelRequestFields")
        more.update(own)
    top_k = body.get("top_k")
    if top_k is not None:
        if vendor == "amazon":
            more["inferenceConfig"] = {**more.get("inferenceConfig", {}), "topK": top_k}
        else:
            more["k" if vendor == "cohere" else "top_k"] = top_k
    effort = body.get("reasoning_effort")
    if effort is not None and effort != "none":
        converse["outputConfig"] = {"effort": _EFFORTS.get(effort, effort)}
    if body.get("service_tier") not in (None, "auto"):
        converse["serviceTier"] = {"type": body["service_tier"]}
    if body.get("metadata"):
        converse["requestMetadata"] = body["metadata"]


def _answer_format(body: dict[str, Any], converse: dict[str, Any], learnt: Learnt, refuse: Refuse) -> None:
    response_format = body.get("response_format")
    if not response_format or response_format["type"] == "text":
        return
    if response_format["type"] == "json_object":
        _instruct(converse, _JSON_INSTRUCTION)
        return
    if response_format["type"] != "json_schema":
        refuse(f"has no response_format of type '{response_format['type']}'")
    wanted = response_format["json_schema"]
    written = learnt.schema_of(body)
    if written is not None:
        described = {name: wanted[name] for name in ("name", "description") if wanted.get(name)}
        definition = {"schema": written, **described}
        text_format = {"type": "json_schema", "structure": {"jsonSchema": definition}}
        converse["outputConfig"] = {**converse.get("outputConfig", {}), "textFormat": text_format}
        return
    schema = wanted.get("schema") or ANY_OBJECT
    if "tools" in learnt.refused:
        _instruct(converse, f"{_JSON_INSTRUCTION} It follows this JSON schema: {orjson.dumps(schema).decode()}")
        return
    words = wanted.get("description") or _ANSWER_DESCRIPTION
    spec = {"name": ANSWER_TOOL, "description": words, "inputSchema": {"json": schema}}
    converse["toolConfig"] = {"tools": [{"toolSpec": spec}]}
    if "tool_choice" in learnt.refused:
        _instruct(converse, f"Answer by calling {ANSWER_TOOL}.")
    elif _thinking(body).get("type", "disabled") == "disabled":  # a model that thinks may not be forced to call
        converse["toolConfig"]["toolChoice"] = {"any": {}}


def _instruct(converse: dict[str, Any], words: str) -> None:
    """Says something at the end of the last turn of the user's: not every model has a system prompt."""
    for turn in reversed(converse["messages"]):
        if turn["role"] == "user":
            turn["content"].append({"text": words})
            return


def _thinking(body: dict[str, Any]) -> dict[str, Any]:
    own = body.get("additionalModelRequestFields")
    thinking = body.get("thinking") or (own.get("thinking") if isinstance(own, dict) else None)
    return thinking if isinstance(thinking, dict) else {}


def _add_tools(
    body: dict[str, Any], converse: dict[str, Any], more: dict[str, Any], vendor: str, refuse: Refuse
) -> None:
    tools = [_tool(tool, refuse) for tool in body.get("tools") or ()]
    used = _uses_tools(converse["messages"])
    choice = body.get("tool_choice")
    if choice == "none" and not used:
        tools = []
    if not tools and used:  # Converse wants to know the tools that a conversation speaks of
        tools = [{"toolSpec": {"name": name, "inputSchema": {"json": _NO_ARGUMENTS}}} for name in used]
    if not tools:
        return
    config = converse.setdefault("toolConfig", {"tools": []})
    forced = bool(config["tools"])
    config["tools"] = tools + config["tools"]
    serial = body.get("parallel_tool_calls") is False
    if (serial or choice == "none") and vendor != "anthropic":
        what = "parallel_tool_calls false" if serial else "tool_choice none after a tool was called"
        refuse(f"cannot keep a model of {vendor} to {what}: leave it out")
    if choice == "none":
        more["tool_choice"] = {"type": "none"}
    elif choice == "required":
        config["toolChoice"] = {"any": {}}
    elif isinstance(choice, dict):
        if choice.get("type") != "function":
            refuse(f"has no tool_choice of type '{choice.get('type')}'")
        config["toolChoice"] = {"tool": {"name": choice["function"]["name"]}}
    elif choice not in (None, "auto"):
        refuse(f"has no tool_choice '{choice}'")
    if serial and choice != "none":
        chosen = config.get("toolChoice", {}) if not forced else {}
        kind = next(iter(chosen), "auto")
        more["tool_choice"] = {"type": kind, **chosen.get(kind, {}), "disable_parallel_tool_use": True}


def _tool(tool: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    if tool.get("type") != "function":
        refuse(f"has no tools of type '{tool.get('type')}', only functions")
    function = tool["function"]
    spec: dict[str, Any] = {"name": function["name"]}
    if function.get("description"):
        spec["description"] = function["description"]
    spec["inputSchema"] = {"json": function.get("parameters") or _NO_ARGUMENTS}
    if function.get("strict"):
        spec["strict"] = True
    return {"toolSpec": spec}


def _uses_tools(messages: list[dict[str, Any]]) -> dict[str, None]:
    """The names of the tools that were called, each once."""
    blocks = (block for message in messages if message["role"] == "assistant" for block in message["content"])
    return dict.fromkeys(block["toolUse"]["name"] for block in blocks if "toolUse" in block)


def _messages(messages: list[dict[str, Any]], system: list[dict[str, Any]], refuse: Refuse) -> list[dict[str, Any]]:
    """Turns of user and assistant, which Converse wants to alternate; what the system says goes into `system`."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role in ("system", "developer"):
            system += [block for block in _blocks(content, refuse) if block.get("text") != ""]
            continue
        if role == "user":
            blocks = _blocks(content, refuse)
        elif role == "assistant":
            blocks = [] if content in (None, "") and message.get("tool_calls") else _blocks(content, refuse)
            blocks += [_tool_use(call, refuse) for call in message.get("tool_calls") or ()]
        elif role == "tool":
            said = [] if content in (None, "") else _blocks(content, refuse)
            blocks = [{"toolResult": {"toolUseId": message.get("tool_call_id"), "content": said}}]
            role = "user"
        else:
            refuse(f"takes no message with the role '{role}'")
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _tool_use(call: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict):
        refuse("takes tool calls of functions only")
    text = function.get("arguments") or "{}"
    try:
        arguments = orjson.loads(text)
    except ValueError:
        refuse(f"takes tool calls whose arguments are JSON, and those of '{function.get('name')}' are not")
    return {"toolUse": {"toolUseId": call.get("id"), "name": function.get("name"), "input": arguments}}


def _blocks(content: Any, refuse: Refuse) -> list[dict[str, Any]]:
    if isinstance(content, list):
        return [block for part in content for block in (_block(part, refuse), *_cache_point(part))]
    return [{"text": "" if content is None else content}]


def _cache_point(part: dict[str, Any]) -> list[dict[str, Any]]:
    """What Anthropic's clients mark as the end of a prompt's beginning that is worth keeping."""
    marked = part.get("cache_control")
    if not isinstance(marked, dict):
        return []
    return [{"cachePoint": {"type": "default", **({"ttl": marked["ttl"]} if marked.get("ttl") else {})}}]


def _block(part: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        return {"text": part.get(kind)}
    if kind == "file":
        return _document(part["file"], refuse)
    if kind == "input_audio":
        audio = part["input_audio"]
        return {"audio": {"format": audio["format"], "source": {"bytes": audio["data"]}}}
    if kind != "image_url":
        refuse(f"takes texts, images, PDF files and recordings in a message, no part of type '{kind}'")
    image = part["image_url"]
    data = data_url(image["url"] if isinstance(image, dict) else image)
    if data is None:
        refuse(
            "takes images as bytes, not by their address: give them in `files` or as data: URLs, or let them be "
            "fetched (fetch_images: true in conf/aiq.yml)"
        )
    image_format = _IMAGE_FORMATS.get(data[0].lower())
    if image_format is None:
        refuse(f"takes PNG, JPEG, GIF and WEBP images, no {data[0] or 'unnamed type'}")
    return {"image": {"format": image_format, "source": {"bytes": data[1]}}}


def _document(file: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    """A PDF. Its name, which models read, is told apart from that of another one of the same request."""
    data = data_url(file.get("file_data") or "")
    if data is None or data[0] != "application/pdf":
        refuse("takes a file as a data: URL of a PDF in base64")
    name = f"document {blake2b(data[1].encode(), digest_size=4).hexdigest()}"
    return {"document": {"format": "pdf", "name": name, "source": {"bytes": data[1]}}}
