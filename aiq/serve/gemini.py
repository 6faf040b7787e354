"""Gemini's `generateContent` in front of a chat: google-genai and Gemini CLI speak it.

Source: the Gemini API reference, "Generating content"; function calls without ids are told apart by their order.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import orjson

from aiq.request import new_request_id
from aiq.serve.http import event
from aiq.serve.refusals import Refusal, refuse
from aiq.serve.shapes import estimated_tokens, member, objects, only_choice, text_of

_PARAMETERS = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop",
    "seed": "seed",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
}
_FORMAT = ("responseMimeType", "responseSchema", "responseJsonSchema")
_UNNEEDED = {"candidateCount": (1,), "responseModalities": (["TEXT"],), "thinkingConfig": None}
"""Members of generationConfig that change nothing in what is answered, with the values for which that is so."""
_MODES = {"AUTO": "auto", "ANY": "required", "NONE": "none", "VALIDATED": "auto"}
_FINISH = {"length": "MAX_TOKENS", "content_filter": "SAFETY"}
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class GeminiShape:
    """The shape of `POST /v1beta/models/<name>:generateContent`. The stream's address says that it is one."""

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        """One body as a chat: `systemInstruction` becomes the first message, role `model` becomes `assistant`."""
        given = {_camel(name): value for name, value in body.items() if value is not None}
        conversation = _Conversation()
        if system := given.pop("systemInstruction", None):
            parts = system.get("parts") if isinstance(system, dict) else [{"text": system}]
            conversation.messages.append({"role": "system", "content": _text(parts, "systemInstruction.parts")})
        contents = given.pop("contents", None)
        contents = [{"parts": [{"text": contents}]}] if isinstance(contents, str) else contents
        for at, content in enumerate(objects(contents, "contents")):
            conversation.add(content, f"contents[{at}]")
        made: dict[str, Any] = {"messages": conversation.messages}
        made |= _parameters(given.pop("generationConfig", None) or {})
        tools = objects(given.pop("tools", None) or [], "tools")
        if declared := [
            _tool(each, f"tools[{at}]") for at, tool in enumerate(tools) for each in _declarations(tool, at)
        ]:
            made["tools"] = declared
            made |= _tool_choice(member(given, "toolConfig", dict, "", needed=False) or {})
        given.pop("toolConfig", None)
        for at, setting in enumerate(objects(given.pop("safetySettings", None) or [], "safetySettings")):
            if setting.get("threshold") not in ("OFF", "BLOCK_NONE"):
                refuse(f"safetySettings[{at}] cannot be honoured; the endpoint's guardrails say what is blocked")
        if given.pop("cachedContent", None):
            refuse("cachedContent cannot be honoured: nothing is kept here; send its contents")
        return {**given, **made}

    def reply(self, completion: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        message, reason = only_choice(completion)
        parts = _parts(text_of(message.get("content")), message.get("tool_calls") or [])
        return _response(completion, parts, reason, completion["usage"])

    async def events(self, chunks: AsyncIterator[dict[str, Any]], body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        calls: dict[int, dict[str, Any]] = {}
        reason, last = "stop", None
        async for chunk in chunks:
            last = chunk
            if not chunk["choices"]:
                continue
            choice = chunk["choices"][0]
            delta = choice.get("delta") or {}
            for call in delta.get("tool_calls") or ():
                _gather(calls, call)  # a function call comes whole, or not at all
            if text := text_of(delta.get("content")):
                yield event(_response(chunk, [{"text": text}], None, None))
            reason = choice.get("finish_reason") or reason
        if last is not None:
            parts = _parts("", [calls[at] for at in sorted(calls)])
            yield event(_response(last, parts, reason, last.get("usage")))

    def broken(self, refused: Refusal) -> bytes:
        return event(self.error(refused))

    def error(self, refused: Refusal) -> dict[str, Any]:
        status = _STATUS.get(refused.status, "INTERNAL" if refused.status >= 500 else "INVALID_ARGUMENT")
        return {"error": {"code": refused.status, "message": refused.message, "status": status}}

    def count(self, body: dict[str, Any]) -> dict[str, int]:
        """What `countTokens` answers: an estimate of four characters a token."""
        inner = body.get("generateContentRequest")
        return {"totalTokens": estimated_tokens(self.chat(inner if isinstance(inner, dict) else body))}


GEMINI = GeminiShape()


def model_body(model: dict[str, Any]) -> dict[str, Any]:
    """One model of Gemini's list, from OpenAI's."""
    methods = ["generateContent", "countTokens"]
    return {"name": f"models/{model['id']}", "displayName": model["id"], "supportedGenerationMethods": methods}


class _Conversation:
    """Messages of a chat as they grow, and the calls of functions that wait for their results, by name."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._waiting: list[tuple[str, str]] = []
        self._calls = 0

    def add(self, content: dict[str, Any], place: str) -> None:
        role = content.get("role", "user")
        if role not in ("user", "model", "function"):
            refuse(f"{place}.role must be user or model")
        parts, calls = [], []
        for at, part in enumerate(objects(content.get("parts"), f"{place}.parts")):
            where = f"{place}.parts[{at}]"
            given = {_camel(name): value for name, value in part.items() if value is not None}
            if "functionCall" in given:
                calls.append(self._called(given["functionCall"], f"{where}.functionCall"))
            elif "functionResponse" in given:
                self.messages.append(self._answered(given["functionResponse"], f"{where}.functionResponse"))
            elif not given.get("thought"):  # what a model thought is not said again
                parts.append(_part(given, where))
        if parts or calls:
            text = all(part["type"] == "text" for part in parts)
            said: Any = "".join(part["text"] for part in parts) if text else parts
            made = {"role": "assistant" if role == "model" else "user", "content": said or None if calls else said}
            self.messages.append({**made, "tool_calls": calls} if calls else made)

    def _called(self, call: Any, place: str) -> dict[str, Any]:
        if not isinstance(call, dict):
            refuse(f"{place} must be an object with name and args")
        name = member(call, "name", str, f"{place}.")
        self._calls += 1
        id = call.get("id") or f"call_{self._calls}"
        self._waiting.append((name, id))
        arguments = orjson.dumps(call.get("args") or {}).decode()
        return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}

    def _answered(self, result: Any, place: str) -> dict[str, Any]:
        if not isinstance(result, dict):
            refuse(f"{place} must be an object with name and response")
        name, id = member(result, "name", str, f"{place}."), result.get("id")
        waiting = next((each for each in self._waiting if each[1] == id or (not id and each[0] == name)), None)
        if waiting is None:
            refuse(f"{place} answers a call of {name[:60]} that is not in contents before it")
        self._waiting.remove(waiting)
        content = orjson.dumps(result.get("response") or {}).decode()
        return {"role": "tool", "tool_call_id": waiting[1], "content": content}


def _camel(name: str) -> str:
    """Both `systemInstruction` and `system_instruction` are said."""
    first, *others = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)


def _text(parts: Any, place: str) -> str:
    return "".join(member(part, "text", str, f"{place}[{at}].") for at, part in enumerate(objects(parts, place)))


def _part(part: dict[str, Any], place: str) -> dict[str, Any]:
    if "text" in part:
        return {"type": "text", "text": member(part, "text", str, f"{place}.")}
    if isinstance(part.get("inlineData"), dict):
        data = {_camel(name): value for name, value in part["inlineData"].items()}
        media = member(data, "mimeType", str, f"{place}.inlineData.")
        if media.startswith("image/"):
            url = f"data:{media};base64,{member(data, 'data', str, f'{place}.inlineData.')}"
            return {"type": "image_url", "image_url": {"url": url}}
    refuse(
        f"{place} has {', '.join(sorted(part))[:80] or 'nothing'}, which is not known here; send text or images inline"
    )


def _parameters(config: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(config, dict):
        refuse("generationConfig must be an object")
    given = {_camel(name): value for name, value in config.items() if value is not None}
    made = {ours: given.pop(theirs) for theirs, ours in _PARAMETERS.items() if theirs in given}
    media, schema, plain = (given.pop(name, None) for name in _FORMAT)
    schema = plain if plain is not None else None if schema is None else _json_schema(schema)
    if schema is not None:
        made["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    elif media == "application/json":
        made["response_format"] = {"type": "json_object"}
    elif media not in (None, "text/plain"):
        refuse(f"generationConfig.responseMimeType {str(media)[:60]} cannot be honoured; take application/json")
    for name, values in _UNNEEDED.items():
        if name in given and (values is None or given[name] in values):
            del given[name]
    if given:
        refuse(f"generationConfig.{min(given)} cannot be honoured; leave it out")
    return made


def _json_schema(schema: Any) -> Any:
    """Gemini's schema as a JSON schema: `{"type": "STRING", "nullable": true}` has types `["string", "null"]` there."""
    if isinstance(schema, list):
        return [_json_schema(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: value for name, value in schema.items() if name not in ("nullable", "propertyOrdering")}
    for name in ("items", "anyOf", "additionalProperties"):
        if name in made:
            made[name] = _json_schema(made[name])
    if isinstance(made.get("properties"), dict):
        made["properties"] = {name: _json_schema(value) for name, value in made["properties"].items()}
    if isinstance(made.get("type"), str):
        kind = made["type"].lower()
        made["type"] = [kind, "null"] if schema.get("nullable") else kind
    return made


def _declarations(tool: dict[str, Any], at: int) -> list[dict[str, Any]]:
    given = {_camel(name): value for name, value in tool.items() if value is not None}
    declared = given.pop("functionDeclarations", None)
    if given:
        refuse(f"tools[{at}].{min(given)} runs at Google only; send functionDeclarations")
    return objects(declared or [], f"tools[{at}].functionDeclarations")


def _tool(declared: dict[str, Any], place: str) -> dict[str, Any]:
    given = {_camel(name): value for name, value in declared.items() if value is not None}
    function: dict[str, Any] = {"name": member(given, "name", str, f"{place}.functionDeclarations.")}
    if given.get("description"):
        function["description"] = given["description"]
    if "parametersJsonSchema" in given:
        function["parameters"] = given["parametersJsonSchema"]
    elif "parameters" in given:
        function["parameters"] = _json_schema(given["parameters"])
    return {"type": "function", "function": function}


def _tool_choice(config: dict[str, Any]) -> dict[str, Any]:
    given = {_camel(name): value for name, value in config.items()}
    calling = member(given, "functionCallingConfig", dict, "toolConfig.", needed=False) or {}
    calling = {_camel(name): value for name, value in calling.items()}
    mode, allowed = str(calling.get("mode") or "AUTO"), calling.get("allowedFunctionNames") or []
    if mode not in _MODES:
        refuse(f"toolConfig.functionCallingConfig.mode must be one of {', '.join(_MODES)}")
    if isinstance(allowed, list) and len(allowed) == 1 and mode == "ANY" and isinstance(allowed[0], str):
        return {"tool_choice": {"type": "function", "function": {"name": allowed[0]}}}
    if allowed:
        refuse("toolConfig.functionCallingConfig.allowedFunctionNames takes one name, with mode ANY")
    return {"tool_choice": _MODES[mode]}


def _gather(calls: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    function = piece.get("function") or {}
    call = calls.setdefault(piece["index"], {"id": None, "function": {"name": None, "arguments": ""}})
    call["id"] = piece.get("id") or call["id"]
    call["function"]["name"] = function.get("name") or call["function"]["name"]
    call["function"]["arguments"] += function.get("arguments") or ""


def _parts(text: str, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"text": text}] if text or not calls else []
    for call in calls:
        function = call["function"]
        try:
            arguments = orjson.loads(function["arguments"] or "{}")
        except orjson.JSONDecodeError:
            arguments = {"arguments": function["arguments"]}
        parts.append({"functionCall": {"id": call["id"], "name": function["name"], "args": arguments}})
    return parts


def _response(
    data: dict[str, Any], parts: list[dict[str, Any]], reason: str | None, usage: dict[str, Any] | None
) -> dict[str, Any]:
    """A GenerateContentResponse; `reason` is the chat's finish reason, None while it goes on."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = _FINISH.get(reason, "STOP")
    made = {"candidates": [candidate], "modelVersion": data.get("model"), "responseId": data.get("id")}
    made["responseId"] = made["responseId"] or new_request_id()
    return made if usage is None else {**made, "usageMetadata": _usage(usage)}


def _usage(usage: dict[str, Any]) -> dict[str, int]:
    """`usage` in Gemini's words, in which thoughts stand beside what was said."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    thoughts = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens", 0)
    made = {
        "promptTokenCount": usage["prompt_tokens"],
        "candidatesTokenCount": max(0, usage["completion_tokens"] - thoughts),
        "totalTokenCount": usage["total_tokens"],
    }
    return (
        made
        | ({"cachedContentTokenCount": cached} if cached else {})
        | ({"thoughtsTokenCount": thoughts} if thoughts else {})
    )
