"""Amazon Bedrock: Converse, ConverseStream, and InvokeModel for embeddings, signed or with an API key.

Source: the Amazon Bedrock API reference and user guide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson

from aiq.simulator.exchange import Counts, Said, Task, Tool, VendorCall, VendorRequest, VendorRoute
from aiq.simulator.limits import Reserving
from aiq.simulator.refusal import VendorError
from aiq.simulator.tokens import chat_tokens, input_tokens, tool_tokens
from aiq.simulator.vendors import aws_signature, bedrock_format, event_stream
from aiq.simulator.vendors.base import Base, Keys, bearer
from aiq.simulator.vendors.bedrock_checks import check_converse, invalid, schema_of

SERVICE = "bedrock"
LONGEST_ANSWER = 64_000
"""What is reserved for a request that does not say how long its answer may be: the longest a model can give."""
COHERE_TEXTS = 96

_SAID = frozenset({"text", "image", "document", "audio"})
_PATH = re.compile(rb"/model/([^/]+)/(converse|converse-stream|invoke)")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9:./_-]{0,2047}")
_TITAN = {"inputText", "dimensions", "normalize", "embeddingTypes"}
_COHERE = {"texts", "input_type", "truncate", "embedding_types"}
_INPUT_TYPES = ("search_document", "search_query", "classification", "clustering")
_EXCEPTIONS = {
    400: "ValidationException",
    401: "AccessDeniedException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
_THROTTLED = "Too many requests, please wait before trying again."
_FAULTS = {
    "400": (400, "ValidationException", "The request is invalid."),
    "401": (403, "UnrecognizedClientException", "The security token included in the request is invalid."),
    "403": (403, "AccessDeniedException", "You don't have access to the model with the specified model ID."),
    "404": (
        404,
        "ResourceNotFoundException",
        "Could not resolve the foundation model from the provided model identifier.",
    ),
    "408": (408, "ModelTimeoutException", "The request took too long to process."),
    "424": (424, "ModelErrorException", "The request failed due to an error while processing the model."),
    "429-not-ready": (429, "ModelNotReadyException", "The model is not ready for inference."),
    "500": (500, "InternalServerException", "An internal server error occurred."),
    "503": (503, "ServiceUnavailableException", "Bedrock is unable to process your request."),
    "529": (503, "ServiceUnavailableException", "Bedrock is unable to process your request."),
    "context-length": (400, "ValidationException", "Input is too long for requested model."),
    "quota-exhausted": (
        400,
        "ServiceQuotaExceededException",
        "Your request exceeds the service quota for your account.",
    ),
}


class Bedrock(Base):
    """Every model on Bedrock that has Converse, and the embeddings of Titan and Cohere."""

    name = "bedrock"
    bases = (("Amazon Bedrock", ""),)
    limits = Reserving
    answers_faults = frozenset({"content-filter"})
    not_json = "Malformed input request, please reformat your input and try again."
    stream_type = event_stream.CONTENT_TYPE
    broken_event = (
        event_stream.event("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"?"}}')[:-1] + b"\x00"
    )

    def route(self, method: bytes, path: bytes, query: bytes) -> VendorRoute | None:
        """`/model/<id>/...`, whose id is one escaped segment."""
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        if method != b"POST":
            raise VendorError(405, "The operation takes POST.", kind="UnknownOperationException")
        model = unquote_to_bytes(match[1]).decode("utf-8", "replace")
        if not _MODEL.fullmatch(model):
            raise invalid("The provided model identifier is invalid.")
        task: Task = "embeddings" if match[2] == b"invoke" else "chat"
        return VendorRoute(task, model, match[2].decode(), match[2] == b"converse-stream")

    def authenticate(self, call: VendorCall, route: VendorRoute, keys: Keys, now_s: float) -> str:
        """A signature that is computed again, or an API key."""
        key = bearer(call.headers)
        if not key:
            return aws_signature.verify(call, SERVICE, keys.secret_of, now_s)
        if not keys.accepts(key):
            raise VendorError(
                403, "Authentication failed: Please make sure your API Key is valid.", kind="AccessDeniedException"
            )
        return key

    def read(self, body: dict[str, Any], route: VendorRoute) -> VendorRequest:
        """A conversation, or texts to embed."""
        if route.task == "embeddings":
            return _embeddings(body, route)
        check_converse(body, route.model)
        messages = _messages(body)
        asked = VendorRequest("chat", route.model, body, chat_tokens(messages), messages=messages, route=route)
        config = body.get("toolConfig", {})
        asked.tools = [
            Tool(tool["toolSpec"]["name"], tool["toolSpec"]["inputSchema"]["json"])
            for tool in config.get("tools", ())
            if "toolSpec" in tool
        ]
        asked.prompt_tokens += tool_tokens(asked.tools)
        choice = config.get("toolChoice", {})
        asked.tool_choice = choice["tool"]["name"] if "tool" in choice else "required" if "any" in choice else "auto"
        more = body.get("additionalModelRequestFields", {})
        own_choice = more.get("tool_choice") or {}
        asked.parallel = not own_choice.get("disable_parallel_tool_use")
        if own_choice.get("type") == "none":
            asked.tool_choice = "none"
        inference = body.get("inferenceConfig", {})
        asked.limit, asked.stop = inference.get("maxTokens"), inference.get("stopSequences") or ()
        asked.sampling = (inference.get("temperature"), inference.get("topP"), more.get("top_k"))
        asked.reserve = asked.prompt_tokens + (asked.limit or LONGEST_ANSWER)
        asked.schema, asked.stream = schema_of(body), bool(route.stream)
        asked.effort = body.get("outputConfig", {}).get("effort")
        if (more.get("thinking") or {}).get("type") == "enabled":
            asked.effort = asked.effort or "medium"
        asked.cacheable, asked.kept_1h = _cacheable(body)
        asked.tier = body.get("serviceTier", {}).get("type", "default")
        return asked

    def full_body(self, asked: VendorRequest, said: Said) -> dict[str, Any]:
        """Converse's answer."""
        return bedrock_format.full_body(said)

    def stream(self, asked: VendorRequest, said: Said) -> list[bytes]:
        """Its events."""
        return list(bedrock_format.stream(said))

    def embeddings(self, asked: VendorRequest, vectors: Sequence[list[float]], counts: Counts | None) -> dict[str, Any]:
        """Titan's or Cohere's own form."""
        return bedrock_format.embeddings(asked, vectors, counts)

    def counted(self, asked: VendorRequest, counts: Counts) -> bytes:
        """The tokens of an InvokeModel."""
        lines = b"x-amzn-bedrock-input-token-count: %d\r\n" % counts.input
        return lines + b"x-amzn-bedrock-output-token-count: %d\r\n" % counts.output

    def refusal(self, fault: str) -> VendorError | None:
        """Bedrock's exceptions."""
        if fault in _FAULTS:
            status, name, words = _FAULTS[fault]
            return VendorError(status, words, kind=name)
        return VendorError(429, _THROTTLED, kind="ThrottlingException") if fault.startswith("429") else None

    def refused(self, refusal: VendorError, route: VendorRoute | None, number: int) -> tuple[bytes, bytes]:
        """A message, and the exception's name in a header, with the URI that older services put behind it."""
        name = _exception(refusal)
        uri = b":http://internal.amazon.com/coral/com.amazon.bedrock/" if number % 2 else b""
        headers = b"x-amzn-errortype: %b%b\r\nx-amzn-requestid: sim-%d\r\n" % (name.encode(), uri, number)
        return orjson.dumps({"message": refusal.message}), headers

    def hint(self, seconds: float) -> bytes:
        """Bedrock never says when to come back."""
        return b""

    def error_event(self, refusal: VendorError) -> bytes:
        """An exception of the stream."""
        name = _exception(refusal)
        return event_stream.exception(name[0].lower() + name[1:], orjson.dumps({"message": refusal.message}))

    def headers(self, route: VendorRoute, number: int, delay_s: float) -> bytes:
        """The request's id."""
        return b"x-amzn-requestid: sim-%d\r\n" % number


def _exception(refusal: VendorError) -> str:
    if refusal.kind.endswith("Exception"):
        return refusal.kind
    return _EXCEPTIONS.get(
        refusal.status, "InternalServerException" if refusal.status >= 500 else "ValidationException"
    )


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The conversation in OpenAI's shape."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": block["text"]} for block in body.get("system", ()) if "text" in block
    ]
    for turn in body["messages"]:
        message: dict[str, Any] = {"role": turn["role"], "content": [], "tool_calls": []}
        for block in turn["content"]:
            if "toolResult" in block:
                result = block["toolResult"]
                parts = [_part(part) for part in result["content"]]
                messages.append({"role": "tool", "tool_call_id": result["toolUseId"], "content": parts})
            elif "toolUse" in block:
                used = block["toolUse"]
                function = {"name": used["name"], "arguments": orjson.dumps(used["input"]).decode()}
                message["tool_calls"].append({"id": used["toolUseId"], "type": "function", "function": function})
            elif block.keys() & _SAID:
                message["content"].append(_part(block))
        if message["content"] or message["tool_calls"]:
            messages.append(message)
    return messages


def _part(block: Mapping[str, Any]) -> dict[str, Any]:
    if "image" in block:
        image = block["image"]
        url = f"data:image/{image['format']};base64,{image['source']['bytes']}"
        return {"type": "image_url", "image_url": {"url": url}}
    if "document" in block:
        return {"type": "file", "file": {"file_data": block["document"]["source"]["bytes"]}}
    if "audio" in block:
        return {"type": "input_audio", "input_audio": {"format": block["audio"]["format"]}}
    text = block["text"] if "text" in block else orjson.dumps(block["json"]).decode()
    return {"type": "text", "text": text}


def _cacheable(body: Mapping[str, Any]) -> tuple[str, bool]:
    """All texts before the last cache point, each ended by a zero byte, and whether it is for an hour.

    None where there is no cache point.
    """
    texts: list[str] = []
    cached, is_kept_1h = "", False
    blocks = [*body.get("system", ()), *(block for turn in body["messages"] for block in turn["content"])]
    for block in blocks:
        if "text" in block:
            texts.append(block["text"] + "\0")
        elif "cachePoint" in block:
            cached, is_kept_1h = "".join(texts), block["cachePoint"].get("ttl") == "1h"
    return cached, is_kept_1h


def _embeddings(body: dict[str, Any], route: VendorRoute) -> VendorRequest:
    if "inputText" in body:
        inputs, form = _titan(body, route.model), "titan"
        dimensions = body.get("dimensions")
    elif "texts" in body:
        inputs, form = _cohere(body, route.model), "cohere"
        dimensions = body.get("output_dimension")
    else:
        raise invalid("Malformed input request: #: required key [inputText] not found, please reformat your input.")
    tokens = input_tokens(inputs)
    route = route._replace(form=form)
    return VendorRequest(
        "embeddings", route.model, body, tokens, tokens, inputs=inputs, dimensions=dimensions, route=route
    )


def _known(body: Mapping[str, Any], known: set[str]) -> None:
    for name in body:
        if name not in known:
            raise _malformed(f"#: extraneous key [{name}] is not permitted")


def _malformed(words: str) -> VendorError:
    return invalid(f"Malformed input request: {words}, please reformat your input and try again.")


def _titan(body: Mapping[str, Any], model: str) -> list[Any]:
    _known(body, {"inputText"} if "embed-text-v1" in model else _TITAN)
    text = body["inputText"]
    if not isinstance(text, str):
        raise _malformed("#/inputText: expected type: String")
    if not 1 <= len(text) <= 50_000:
        low = not text
        raise _malformed(f"expected {'minLength: 1' if low else 'maxLength: 50000'}, actual: {len(text)}")
    if body.get("dimensions", 256) not in (256, 512, 1024):
        raise _malformed("#/dimensions: not in enum: [256, 512, 1024]")
    return [text]


def _cohere(body: Mapping[str, Any], model: str) -> list[Any]:
    newest = "embed-v4" in model
    _known(body, _COHERE | {"output_dimension", "max_tokens"} if newest else _COHERE)
    texts = body["texts"]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise _malformed("#/texts: expected an array of strings")
    if len(texts) > COHERE_TEXTS:
        raise _malformed(f"#/texts: expected maximum item count: {COHERE_TEXTS}, found: {len(texts)}")
    if body.get("input_type") not in _INPUT_TYPES:
        raise _malformed("#: required key [input_type] not found")
    if newest and body.get("output_dimension", 256) not in (256, 512, 1024, 1536):
        raise _malformed("#/output_dimension: not in enum: [256, 512, 1024, 1536]")
    return list(texts)
