"""Which fields a Gemini request has and of which types, as Google's JSON reader for protocol buffers takes them.

Knows no meaning of a field. Source: the Gemini API reference and Google's protocol buffers' JSON mapping: names are
camelCase or snake_case, an unknown name is an error, and so is a value of another type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiq.simulator.vendors.google_errors import invalid

Spec = Any
"""`str`, `int`, `float`, `bool`, `dict` (any object), `object` (anything); a Mapping of fields; a list of one Spec."""

_SNAKE = re.compile(r"(?<!^)(?=[A-Z])")
_KINDS = {str: "TYPE_STRING", int: "TYPE_INT32", float: "TYPE_FLOAT", bool: "TYPE_BOOL", dict: "TYPE_MESSAGE"}
_INT32 = 2**31

_BLOB = {"mimeType": str, "data": str, "displayName": str}
PART = {
    "text": str,
    "inlineData": _BLOB,
    "fileData": {"mimeType": str, "fileUri": str, "displayName": str},
    "functionCall": {"id": str, "name": str, "args": dict},
    "functionResponse": {"id": str, "name": str, "response": dict, "willContinue": bool, "scheduling": str},
    "executableCode": dict,
    "codeExecutionResult": dict,
    "thought": bool,
    "thoughtSignature": str,
    "videoMetadata": dict,
    "mediaResolution": dict,
}
CONTENT = {"role": str, "parts": [PART]}
_GENERATION = {
    "temperature": float,
    "topP": float,
    "topK": float,
    "candidateCount": int,
    "maxOutputTokens": int,
    "stopSequences": [str],
    "responseMimeType": str,
    "responseSchema": dict,
    "responseJsonSchema": object,
    "seed": int,
    "presencePenalty": float,
    "frequencyPenalty": float,
    "responseLogprobs": bool,
    "logprobs": int,
    "responseModalities": [str],
    "mediaResolution": str,
    "thinkingConfig": {"includeThoughts": bool, "thinkingBudget": int, "thinkingLevel": str},
}
_TOOL = {
    "functionDeclarations": [
        {
            "name": str,
            "description": str,
            "parameters": dict,
            "parametersJsonSchema": object,
            "response": dict,
            "responseJsonSchema": object,
            "behavior": str,
        }
    ],
    "googleSearch": dict,
    "codeExecution": dict,
    "urlContext": dict,
}
GENERATE = {
    "contents": [CONTENT],
    "systemInstruction": CONTENT,
    "generationConfig": _GENERATION,
    "safetySettings": [{"category": str, "threshold": str, "method": str}],
    "tools": [_TOOL],
    "toolConfig": {"functionCallingConfig": {"mode": str, "allowedFunctionNames": [str]}, "retrievalConfig": dict},
    "cachedContent": str,
    "labels": dict,
    "serviceTier": str,
    "model": str,
    "store": bool,
}
_EMBED_CONFIG = {"taskType": str, "title": str, "outputDimensionality": int, "autoTruncate": bool}
EMBED = {"model": str, "content": CONTENT, **_EMBED_CONFIG, "embedContentConfig": _EMBED_CONFIG}
BATCH = {"requests": [EMBED]}
PREDICT = {
    "instances": [{"content": str, "task_type": str, "title": str, "taskType": str, "mimeType": str}],
    "parameters": {"outputDimensionality": float, "autoTruncate": bool},
}


def checked(value: Any, spec: Spec, path: str = "") -> Any:
    """The value with camelCase names. Refuses (400) what the reader cannot read; nulls are left out."""
    if isinstance(spec, Mapping):
        if not isinstance(value, dict):
            _wrong(value, "TYPE_MESSAGE", path)
        return _object(value, spec, path)
    if isinstance(spec, list):
        items = value if isinstance(value, list) else [value]  # one alone is taken for a list of one
        return [checked(item, spec[0], f"{path}[{number}]") for number, item in enumerate(items)]
    if spec is object:
        return value
    if spec is float:
        if type(value) not in (int, float):
            _wrong(value, _KINDS[spec], path)
    elif spec is int:
        value = int(value) if type(value) is float and value.is_integer() else value
        if type(value) is not int or not -_INT32 <= value < _INT32:
            _wrong(value, _KINDS[spec], path)
    elif type(value) is not spec:
        _wrong(value, _KINDS[spec], path)
    return value


def _object(value: dict[str, Any], spec: Mapping[str, Spec], path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, inner in value.items():
        camel = name if name in spec else _camel(name)
        if camel not in spec:
            at = f" at '{path}'" if path else ""
            invalid(f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.', path)
        if inner is not None:
            snake = _SNAKE.sub("_", camel).lower()
            found[camel] = checked(inner, spec[camel], f"{path}.{snake}" if path else snake)
    return found


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _wrong(value: Any, kind: str, path: str) -> None:
    shown = f'"{value}"' if isinstance(value, str) else value
    invalid(f"Invalid value at '{path}' ({kind}), {shown}", path)
