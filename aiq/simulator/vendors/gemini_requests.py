"""What a Gemini request asks, and whether Google would accept it. Knows no path, credential or answer.

Source: the Gemini API reference; its guides to thinking, thought signatures, function calling and embeddings, and the
words of the errors that these name.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Sequence
from typing import Any

import orjson

from aiq.simulator.exchange import Tool, VendorRequest, VendorRoute
from aiq.simulator.tokens import chat_tokens, input_tokens, tool_tokens
from aiq.simulator.vendors.gemini_fields import BATCH, EMBED, GENERATE, PREDICT, checked
from aiq.simulator.vendors.google_errors import invalid
from aiq.simulator.vendors.openai import text_of

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_VERSION = re.compile(r"gemini-(\d+)")
_DATA = ("text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult")
_IMAGES = ("image/png", "image/jpeg", "image/webp", "image/heic", "image/heif")
_LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH")
_TASK_TYPES = (
    "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "SEMANTIC_SIMILARITY", "CLASSIFICATION", "CLUSTERING",
    "QUESTION_ANSWERING", "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY",
)  # fmt: skip
_RANGES = (("temperature", 0, 2), ("topP", 0, 1), ("candidateCount", 1, 8), ("maxOutputTokens", 1, None))
_EFFORTS = ((0, "none"), (1024, "low"), (8192, "medium"), (32_768, "high"))
"""What a thinking budget of up to so many tokens comes to."""
SIGNATURES = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
"""What is taken in place of a signature that Gemini made."""
MAX_BATCH, MAX_INSTANCES, MAX_PREDICTED_TOKENS = 100, 250, 20_000


def generation_of(model: str) -> int:
    """The number in a model's name: 3 for `gemini-3-pro`; 2 where there is none."""
    found = _VERSION.search(model)
    return int(found[1]) if found else 2


def generate(body: dict[str, Any], route: VendorRoute, *, vertex: bool) -> VendorRequest:
    """`generateContent` and `streamGenerateContent`."""
    wire = checked(body, GENERATE)
    contents = wire.get("contents")
    if not contents:
        invalid("* GenerateContentRequest.contents: contents is not specified\n", "contents")
    _check_turns(contents, route.model, vertex)
    config = wire.get("generationConfig", {})
    messages = _messages(wire.get("systemInstruction"), contents)
    asked = VendorRequest("chat", route.model, wire, chat_tokens(messages), messages=messages, route=route)
    asked.stream = bool(route.stream)
    _read_tools(asked, wire)
    _read_config(asked, config)
    asked.reserve = asked.prompt_tokens
    asked.tier = str(wire.get("serviceTier") or "standard").lower().removeprefix("service_tier_")
    if asked.prompt_tokens >= 1024:
        asked.cacheable = text_of(messages)
    return asked


def _check_turns(contents: Sequence[dict[str, Any]], model: str, vertex: bool) -> None:
    calls = 0
    last_words = max((i for i, content in enumerate(contents) if _is_said(content)), default=0)
    for i, content in enumerate(contents):
        at = f"contents[{i}]"
        role, parts = content.get("role", "user"), content.get("parts")
        if role not in ("user", "model", "function"):
            invalid("Please use a valid role: user, model.", f"{at}.role")
        if not parts:
            invalid(f"* GenerateContentRequest.{at}.parts: contents.parts must not be empty.\n", f"{at}.parts")
        for j, part in enumerate(parts):
            _check_part(part, f"{at}.parts[{j}]", vertex)
        made = sum("functionCall" in part for part in parts)
        answered = sum("functionResponse" in part for part in parts)
        if answered != calls and (answered or calls):
            invalid(
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn."
            )
        calls = made
        if made and generation_of(model) >= 3 and i > last_words:
            first = next(part for part in parts if "functionCall" in part)
            _check_signature(first, i, parts.index(first))


def _is_said(content: dict[str, Any]) -> bool:
    """Whether a content begins a turn: a user's, that is no result of a call."""
    parts = content.get("parts") or [{}]
    return content.get("role", "user") == "user" and not any("functionResponse" in part for part in parts)


def _check_part(part: dict[str, Any], at: str, vertex: bool) -> None:
    given = [name for name in _DATA if name in part]
    if not given:
        words = f"* GenerateContentRequest.{at}.data: required oneof field 'data' must have one initialized field\n"
        invalid(words, f"{at}.data")
    if len(given) > 1:
        words = "Invalid value at '{}' (oneof), oneof field 'data' is already set. Cannot set '{}'"
        invalid(words.format(at, given[1]), at)
    if vertex and part.get("text") == "":
        invalid(
            "Unable to submit request because it has an empty text parameter. Add a value to the parameter and try "
            "again."
        )
    blob = part.get("inlineData")
    if blob is not None:
        kind = blob.get("mimeType", "")
        if kind not in _IMAGES and not kind.startswith(("audio/", "video/")) and kind != "application/pdf":
            invalid(f"Unsupported MIME type: {kind}", f"{at}.inline_data.mime_type")
        try:
            b64decode(blob.get("data", ""), validate=True)
        except Error:
            invalid(f"Invalid value at '{at}.inline_data.data' (TYPE_BYTES), Base64 decoding failed", at)
    if "fileData" in part and not part["fileData"].get("fileUri"):
        invalid(f"* GenerateContentRequest.{at}.file_data.file_uri: file_uri must be set\n", f"{at}.file_data")
    for name in ("functionCall", "functionResponse"):
        if name in part and not part[name].get("name"):
            invalid(f"* GenerateContentRequest.{at}.{name}.name: Name cannot be empty.\n", f"{at}.{name}.name")


def _check_signature(part: dict[str, Any], content: int, number: int) -> None:
    signature = part.get("thoughtSignature")
    name = part["functionCall"]["name"]
    if not signature:
        invalid(
            f"Function call is missing a thought_signature in functionCall parts. This is required for tools to work "
            f"correctly. Function call `{name}`, position {number + 1} of content {content + 1}."
        )
    if signature not in SIGNATURES and not signature.startswith("c2ln"):
        invalid("Corrupted thought signature.")


def _messages(system: dict[str, Any] | None, contents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same conversation in OpenAI's form."""
    messages: list[dict[str, Any]] = []
    if system is not None:
        text = "\n".join(part.get("text", "") for part in system.get("parts", ()))
        messages.append({"role": "system", "content": text})
    ids: dict[str, list[str]] = {}
    for content in contents:
        parts = content["parts"]
        for part in parts:
            if "functionResponse" in part:
                result = part["functionResponse"]
                waiting = ids.get(result["name"]) or [""]
                identity = result.get("id") or waiting.pop(0)
                text = orjson.dumps(result.get("response", {})).decode()
                messages.append({"role": "tool", "tool_call_id": identity, "content": text})
        said = [_part(part) for part in parts if not {"functionCall", "functionResponse"} & part.keys()]
        calls = [part["functionCall"] for part in parts if "functionCall" in part]
        if not said and not calls:
            continue
        role = "assistant" if content.get("role") == "model" else "user"
        message: dict[str, Any] = {"role": role, "content": said or None}
        if len(said) == 1 and said[0]["type"] == "text":
            message["content"] = said[0]["text"]
        if calls:
            message["tool_calls"] = [_call(call, ids, len(messages), number) for number, call in enumerate(calls)]
        messages.append(message)
    return messages


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if "text" in part:
        return {"type": "text", "text": part["text"]}
    if "inlineData" in part:
        blob = part["inlineData"]
        if blob["mimeType"].startswith("image/"):
            url = f"data:{blob['mimeType']};base64,{blob.get('data', '')}"
            return {"type": "image_url", "image_url": {"url": url}}
        return {"type": "file", "file": {}}
    if part.get("fileData", {}).get("mimeType", "").startswith("image/"):
        return {"type": "image_url", "image_url": {"url": part["fileData"]["fileUri"]}}
    return {"type": "file", "file": {}}


def _call(call: dict[str, Any], ids: dict[str, list[str]], position: int, number: int) -> dict[str, Any]:
    identity = call.get("id") or f"call_{position}_{number}"
    ids.setdefault(call["name"], []).append(identity)
    function = {"name": call["name"], "arguments": orjson.dumps(call.get("args", {})).decode()}
    return {"id": identity, "type": "function", "function": function}


def _read_tools(asked: VendorRequest, wire: dict[str, Any]) -> None:
    tools: list[Tool] = []
    for tool in wire.get("tools", ()):
        for declaration in tool.get("functionDeclarations", ()):
            name = declaration.get("name", "")
            if not _NAME.fullmatch(name):
                invalid("Invalid function name. Must start with a letter or an underscore.", "tools")
            if "parameters" in declaration and "parametersJsonSchema" in declaration:
                invalid("Only one of parameters and parameters_json_schema can be set.", "tools")
            schema = declaration.get("parametersJsonSchema", declaration.get("parameters", {}))
            if not isinstance(schema, dict) or schema.get("type", "object").lower() != "object":
                invalid(f"The parameters of function {name} should be of type OBJECT.", "tools")
            tools.append(Tool(name, _lowered(schema)))
    calling = wire.get("toolConfig", {}).get("functionCallingConfig", {})
    mode, allowed = calling.get("mode", "AUTO").upper(), calling.get("allowedFunctionNames", [])
    if mode not in ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"):
        invalid(f"Invalid value at 'tool_config.function_calling_config.mode' (TYPE_ENUM), \"{mode}\"", "tool_config")
    if allowed and mode not in ("ANY", "VALIDATED"):
        invalid("Allowed function names are only permitted when function calling mode is ANY.", "tool_config")
    if unknown := [name for name in allowed if name not in [tool.name for tool in tools]]:
        invalid(f"Allowed function name {unknown[0]} is not declared.", "tool_config")
    asked.tools = [tool for tool in tools if not allowed or tool.name in allowed]
    asked.tool_choice = {"NONE": "none", "ANY": "required"}.get(mode, "auto")
    asked.prompt_tokens += tool_tokens(tools)


def _lowered(schema: Any) -> Any:
    """A schema with the types of JSON schema, where Google's own has them in capitals."""
    if isinstance(schema, dict):
        return {
            name: value.lower() if name == "type" and isinstance(value, str) else _lowered(value)
            for name, value in schema.items()
        }
    return [_lowered(item) for item in schema] if isinstance(schema, list) else schema


def _read_config(asked: VendorRequest, config: dict[str, Any]) -> None:
    for name, low, high in _RANGES:
        value = config.get(name)
        if value is not None and (value < low or (high is not None and value > high)):
            reach = f"in the range [{low}, {high}]" if high is not None else f"at least {low}"
            invalid(f"Unable to submit request because {name} is {value}; it must be {reach}.", "generation_config")
    if len(config.get("stopSequences", ())) > 5:
        invalid("The number of stop sequences must be at most 5.", "generation_config.stop_sequences")
    if "logprobs" in config and not config.get("responseLogprobs"):
        invalid("logprobs is set, but response_logprobs is not.", "generation_config.logprobs")
    asked.n = config.get("candidateCount", 1)
    asked.limit = config.get("maxOutputTokens")
    asked.stop = tuple(config.get("stopSequences", ()))
    asked.sampling = tuple(config.get(name) for name in ("temperature", "topP", "topK", "seed"))
    _read_format(asked, config)
    _read_thinking(asked, config.get("thinkingConfig", {}))


def _read_format(asked: VendorRequest, config: dict[str, Any]) -> None:
    kind = config.get("responseMimeType", "text/plain")
    if kind not in ("text/plain", "application/json", "text/x.enum"):
        invalid(f"response_mime_type: allowed mimetypes are text/plain, application/json; got {kind}")
    schema = config.get("responseJsonSchema", config.get("responseSchema"))
    if "responseJsonSchema" in config and "responseSchema" in config:
        invalid("Only one of response_schema and response_json_schema can be set.", "generation_config")
    if kind == "text/plain":
        if schema is not None:
            invalid("Response schema is only supported with a response MIME type of application/json.")
        return
    if asked.tools and generation_of(asked.model) < 3:
        invalid(f"Function calling with a response mime type: '{kind}' is unsupported")
    asked.json = schema is None
    asked.schema = None if schema is None else _lowered(schema)


def _read_thinking(asked: VendorRequest, thinking: dict[str, Any]) -> None:
    level, budget = thinking.get("thinkingLevel"), thinking.get("thinkingBudget")
    if level is not None and budget is not None:
        invalid("You can only set only one of thinking budget and thinking level.")
    if level is not None:
        if generation_of(asked.model) < 3:
            invalid("Thinking level is not supported for this model.")
        if level.upper() not in _LEVELS:
            invalid(f"Invalid value at 'generation_config.thinking_config.thinking_level' (TYPE_ENUM), \"{level}\"")
        asked.effort = level.lower()
    if budget is not None:
        low = 128 if "-pro" in asked.model else 0
        if budget != -1 and not low <= budget <= 32_768:
            invalid(f"The thinking budget {budget} is invalid. Please choose a value between {low} and 32768.")
        if budget >= 0:
            asked.effort = next(effort for most, effort in _EFFORTS if budget <= most)


def embed(body: dict[str, Any], route: VendorRoute, *, vertex: bool) -> VendorRequest:
    """`embedContent`, `batchEmbedContents` and `predict`."""
    if route.form == "predict":
        return _predict(body, route)
    if route.form == "embedContent":
        requests = [checked(body, EMBED)]
    else:
        requests = checked(body, BATCH).get("requests", [])
        if not 1 <= len(requests) <= MAX_BATCH:
            invalid(f"* BatchEmbedContentsRequest.requests: between 1 and {MAX_BATCH} requests can be in one batch\n")
    texts = []
    for number, request in enumerate(requests):
        model = request.get("model", "" if vertex or route.form == "embedContent" else None)
        if model is None or (model and not model.endswith(route.model)):
            invalid(f"* BatchEmbedContentsRequest.requests[{number}].model: unexpected model name format\n")
        parts = request.get("content", {}).get("parts")
        if not parts or not all("text" in part for part in parts):
            invalid("* EmbedContentRequest.content: contents is not specified\n", "content")
        texts.append("".join(part["text"] for part in parts))
    settings = {**requests[0], **requests[0].get("embedContentConfig", {})}
    return _embedding(route, body, texts, settings)


def _predict(body: dict[str, Any], route: VendorRoute) -> VendorRequest:
    wire = checked(body, PREDICT)
    instances = wire.get("instances", [])
    if "gemini-embedding" in route.model and "gemini-embedding-001" not in route.model:
        invalid("Precondition check failed.", status="FAILED_PRECONDITION")
    most = 1 if "gemini-embedding" in route.model else MAX_INSTANCES
    if not 1 <= len(instances) <= most:
        invalid(f"{len(instances)} instance(s) is not allowed for the model. Max allowed: {most}.")
    texts = [instance.get("content", "") for instance in instances]
    if "" in texts:
        invalid("The text content is empty.")
    if (tokens := input_tokens(texts)) > MAX_PREDICTED_TOKENS:
        invalid(f"The input token count is {tokens} but the model supports up to {MAX_PREDICTED_TOKENS}.")
    parameters = wire.get("parameters", {})
    return _embedding(route, body, texts, {"taskType": instances[0].get("task_type"), **parameters})


def _embedding(route: VendorRoute, body: dict[str, Any], texts: list[str], settings: dict[str, Any]) -> VendorRequest:
    task_type, dimensions = settings.get("taskType"), settings.get("outputDimensionality")
    if task_type is not None and task_type not in _TASK_TYPES:
        invalid(f"Invalid value at 'task_type' (type.googleapis.com/TaskType), \"{task_type}\"", "task_type")
    if dimensions is not None and not 1 <= dimensions <= 3072:
        invalid("outputDimensionality must be between 1 and 3072.", "output_dimensionality")
    tokens = input_tokens(texts)
    asked = VendorRequest("embeddings", route.model, body, tokens, tokens, inputs=list(texts), route=route)
    asked.dimensions = None if dimensions is None else int(dimensions)
    return asked
