"""OpenAI's chat body as Gemini's `generateContent` takes it. Must never know an address, a credential or an answer.

Source: the Gemini API reference, `models.generateContent`; Google's guide to its OpenAI compatibility for the reasoning
efforts, and to thought signatures.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import urlsplit

import orjson

from aiq.providers.wire.openai_form import data_url

Refuse = Callable[[str], NoReturn]

OWN_CALL = "call_aiq_"
"""The beginning of the ids that are given to tool calls to which Gemini gave none; it is never sent one."""
_ANY_SIGNATURE = "skip_thought_signature_validator"
"""Google's own stand-in for the signature of a call that Gemini did not make itself."""
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576}
_LEVELS = {
    "none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "HIGH",
}  # fmt: skip
_VERSION = re.compile(r"gemini-(\d+)")
_TIERS = {"auto": None, "default": "standard", "flex": "flex", "priority": "priority"}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
_MEDIA_TYPES = {
    "jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp",
    "heic": "image/heic", "heif": "image/heif", "pdf": "application/pdf",
}  # fmt: skip

PARAMETERS = frozenset(
    {
        "temperature", "top_p", "max_tokens", "max_completion_tokens", "n", "stop", "seed", "presence_penalty",
        "frequency_penalty", "logprobs", "top_logprobs", "tools", "tool_choice", "reasoning_effort", "service_tier",
    }
)  # fmt: skip
"""OpenAI's parameters of a chat that have a meaning here."""
_RENAMED = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens",
    "n": "candidateCount",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
    "media_resolution": "mediaResolution",
}
_BESIDE = {
    "safety_settings": "safetySettings",
    "safetySettings": "safetySettings",
    "cached_content": "cachedContent",
    "cachedContent": "cachedContent",
    "labels": "labels",
}
"""Parameters next to `generationConfig`, into which all others go."""
OWN = frozenset({*_RENAMED, *_BESIDE, "topK", "mediaResolution", "thinking_config", "thinkingConfig"}) - PARAMETERS
"""Parameters that OpenAI does not have."""
_IGNORED = frozenset({"messages", "model", "stream", "stream_options"})
_NOT_HONOURED = frozenset(
    {
        "logit_bias", "user", "metadata", "store", "verbosity", "safety_identifier", "prompt_cache_key", "modalities",
        "audio", "prediction", "web_search_options", "functions", "function_call",
    }
)  # fmt: skip


def thinks_in_levels(model: str) -> bool:
    """Whether a model takes a level of thinking, as from Gemini 3 on, and not a budget of tokens."""
    found = _VERSION.search(model)
    return found is None or int(found[1]) >= 3


def generate_content(body: dict[str, Any], levels: bool, refuse: Refuse) -> dict[str, Any]:
    """The body of `generateContent`. `levels` is what `thinks_in_levels` says of the model.

    `refuse` gets what cannot be translated, and raises.
    """
    try:
        wire = _contents(body["messages"], levels, refuse)
        config: dict[str, Any] = {}
        for name, value in body.items():
            renamed = _RENAMED.get(name)
            if renamed is not None:
                config[renamed] = value
            elif name not in _IGNORED and value is not None:
                _parameter(wire, config, name, value, levels, refuse)
    except (KeyError, TypeError, AttributeError, ValueError):
        refuse("cannot read the request: messages, tools and formats have to be of the form that OpenAI's API takes")
    if config:
        wire["generationConfig"] = config
    return wire


def _parameter(
    wire: dict[str, Any], config: dict[str, Any], name: str, value: Any, levels: bool, refuse: Refuse
) -> None:
    if name == "stop":
        config["stopSequences"] = [value] if isinstance(value, str) else value
    elif name == "response_format":
        _format(config, value, refuse)
    elif name == "tools":
        wire["tools"] = _tools(value, refuse)
    elif name == "tool_choice":
        wire["toolConfig"] = {"functionCallingConfig": _choice(value, refuse)}
    elif name == "reasoning_effort":
        efforts: dict[str, Any] = _LEVELS if levels else _BUDGETS
        if value not in efforts:
            refuse(f"knows no reasoning_effort '{value}'; it takes {', '.join(efforts)}")
        config.setdefault("thinkingConfig", {})["thinkingLevel" if levels else "thinkingBudget"] = efforts[value]
    elif name in ("thinking_config", "thinkingConfig"):
        config["thinkingConfig"] = {**config.get("thinkingConfig", {}), **value}
    elif name == "service_tier":
        if value not in _TIERS:
            refuse(f"knows no service_tier '{value}'; it takes {', '.join(_TIERS)}")
        if _TIERS[value] is not None:
            wire["serviceTier"] = _TIERS[value]
    elif name == "parallel_tool_calls":
        if value is False:
            refuse("cannot keep a model from calling several tools at once; leave parallel_tool_calls out")
    elif name in _NOT_HONOURED:
        refuse(f"cannot honour {name}; leave it out")
    elif name in _BESIDE:
        wire[_BESIDE[name]] = value
    else:
        config[name] = value


def _contents(messages: list[dict[str, Any]], levels: bool, refuse: Refuse) -> dict[str, Any]:
    """`contents`, and `systemInstruction` with what system and developer messages say, wherever they stand."""
    contents: list[dict[str, Any]] = []
    system: list[dict[str, Any]] = []
    calls: dict[str, str] = {}  # names of functions by the ids of their calls
    answering = False
    for message in messages:
        role, content = message["role"], message.get("content")
        if role == "user":
            contents.append({"role": "user", "parts": _parts(content, refuse)})
        elif role == "assistant":
            parts = _said(message, content, calls, levels, refuse)
            if parts:
                contents.append({"role": "model", "parts": parts})
        elif role in ("system", "developer"):
            system += _texts(content, role, refuse)
        elif role == "tool":
            part = _result(message, content, calls, refuse)
            if answering:  # results of calls that were made together come back together
                contents[-1]["parts"].append(part)
            else:
                contents.append({"role": "user", "parts": [part]})
        else:
            refuse(f"has no messages of role '{role}'; it takes system, developer, user, assistant and tool")
        answering = role == "tool"
    if not contents:
        refuse("needs a message of a user, and there is none")
    wire: dict[str, Any] = {"contents": contents}
    if system:
        wire["systemInstruction"] = {"parts": system}
    return wire


def _parts(content: Any, refuse: Refuse) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"text": content}]
    return [_part(part, refuse) for part in content]


def _texts(content: Any, role: str, refuse: Refuse) -> list[dict[str, Any]]:
    parts = _parts(content, refuse)
    if any("text" not in part for part in parts):
        refuse(f"takes nothing but text in a message of role '{role}'")
    return parts


def _part(part: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    kind = part["type"]
    if kind == "text":
        return {"text": part["text"]}
    if kind == "refusal":
        return {"text": part["refusal"]}
    if kind == "image_url":
        return _file(part["image_url"]["url"], refuse)
    if kind == "input_audio":
        audio = part["input_audio"]
        return {"inlineData": {"mimeType": f"audio/{audio['format']}", "data": audio["data"]}}
    if kind == "file" and "file_data" in part["file"]:
        return _file(part["file"]["file_data"], refuse)
    refuse(f"has no parts of type '{kind}' in a message; it takes text, image_url, input_audio and file with file_data")


def _file(url: str, refuse: Refuse) -> dict[str, Any]:
    inline = data_url(url)
    if inline is not None and inline[0] == "image/gif":
        refuse("takes no GIF; send a PNG, JPEG or WEBP")
    if inline is not None and inline[0]:
        return {"inlineData": {"mimeType": inline[0], "data": inline[1]}}
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http", "gs"):
        refuse("takes an image as a data: URL with base64, or as a link")
    media_type = _MEDIA_TYPES.get(parts.path.rpartition(".")[2].lower())
    if media_type is None:
        refuse(
            "has to be told the type of a linked image, and the link does not end with one that is known (.jpeg, .png, "
            ".webp); send the image itself as a data: URL, or let it be fetched (fetch_images: true in conf/aiq.yml)"
        )
    return {"fileData": {"mimeType": media_type, "fileUri": url}}


def takes_link(url: str) -> bool:
    """Whether a link to an image can be sent as it is: Google needs its type."""
    return urlsplit(url).path.rpartition(".")[2].lower() in _MEDIA_TYPES


def _said(
    message: dict[str, Any], content: Any, calls: dict[str, str], levels: bool, refuse: Refuse
) -> list[dict[str, Any]]:
    """What the model said before, with the signatures of its thoughts."""
    parts = [part for part in _texts(content, "assistant", refuse) if part["text"]] if content else []
    signature = _signature(message)
    if parts and signature is not None:
        parts[-1]["thoughtSignature"] = signature
    for number, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        made: dict[str, Any] = {"name": function["name"], "args": orjson.loads(function["arguments"] or "{}")}
        if not call["id"].startswith(OWN_CALL):
            made["id"] = call["id"]
        calls[call["id"]] = function["name"]
        part: dict[str, Any] = {"functionCall": made}
        signature = _signature(call)
        if signature is None and levels and number == 0:
            signature = _ANY_SIGNATURE
        if signature is not None:
            part["thoughtSignature"] = signature
        parts.append(part)
    return parts


def _signature(said: dict[str, Any]) -> str | None:
    """Where Google's own OpenAI-compatible API puts the signature of a thought."""
    extra = said.get("extra_content")
    if not extra:
        return None
    signature: str | None = (extra.get("google") or {}).get("thought_signature")
    return signature


def _result(message: dict[str, Any], content: Any, calls: dict[str, str], refuse: Refuse) -> dict[str, Any]:
    identity = message["tool_call_id"]
    name = calls.get(identity)
    if name is None:
        refuse("has to be told which function a tool message answers, and no assistant message before it made the call")
    text = "".join(part["text"] for part in _texts(content, "tool", refuse))
    response: Any = None
    if text[:1] == "{":
        try:
            response = orjson.loads(text)
        except ValueError:
            response = None
    result: dict[str, Any] = {"name": name, "response": {"result": text} if response is None else response}
    if not identity.startswith(OWN_CALL):
        result["id"] = identity
    return {"functionResponse": result}


def _tools(tools: list[dict[str, Any]], refuse: Refuse) -> list[dict[str, Any]]:
    declared: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    for tool in tools:
        if "type" not in tool:  # one of Google's, such as {"googleSearch": {}}
            theirs.append(tool)
            continue
        if tool["type"] != "function":
            refuse(f"has no tools of type '{tool['type']}'; it takes functions")
        function = tool["function"]
        declaration = {"name": function["name"]}
        if function.get("description"):
            declaration["description"] = function["description"]
        if function.get("parameters"):
            declaration["parametersJsonSchema"] = function["parameters"]
        declared.append(declaration)
    return [*([{"functionDeclarations": declared}] if declared else []), *theirs]


def _choice(choice: Any, refuse: Refuse) -> dict[str, Any]:
    if isinstance(choice, str):
        if choice not in _MODES:
            refuse(f"knows no tool_choice '{choice}'; it takes {', '.join(_MODES)}, or the name of a function")
        return {"mode": _MODES[choice]}
    if choice["type"] != "function":
        refuse(f"knows no tool_choice of type '{choice['type']}'; it takes functions")
    return {"mode": "ANY", "allowedFunctionNames": [choice["function"]["name"]]}


def _format(config: dict[str, Any], value: dict[str, Any], refuse: Refuse) -> None:
    kind = value["type"]
    if kind == "text":
        return
    if kind not in ("json_object", "json_schema"):
        refuse(f"knows no response_format of type '{kind}'; it takes text, json_object and json_schema")
    config["responseMimeType"] = "application/json"
    if kind == "json_schema":
        config["responseJsonSchema"] = value["json_schema"]["schema"]
