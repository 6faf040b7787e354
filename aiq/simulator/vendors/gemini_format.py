"""The bodies of Gemini's answers, whole and as server-sent events. Knows no HTTP and decides nothing.

Source: the Gemini API reference, `GenerateContentResponse` and `EmbedContentResponse`; Vertex AI's text embeddings API.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import orjson

from aiq.simulator.answers import pieces_of
from aiq.simulator.exchange import Choice, Counts, Said, VendorRequest
from aiq.simulator.tokens import text_tokens
from aiq.simulator.vendors.gemini_requests import generation_of

_REASONS = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
_THOUGHT = "The simulator pretends to think about it."


def usage(counts: Counts) -> dict[str, Any]:
    """`usageMetadata`: thoughts are counted apart from the answer, cached tokens within the prompt."""
    used: dict[str, Any] = {
        "promptTokenCount": counts.input,
        "candidatesTokenCount": counts.output - counts.reasoning,
        "totalTokenCount": counts.input + counts.output,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": counts.input}],
    }
    if counts.cached:
        used["cachedContentTokenCount"] = counts.cached
    if counts.reasoning:
        used["thoughtsTokenCount"] = counts.reasoning
    if counts.tier not in ("default", "standard"):
        used["serviceTier"] = counts.tier
    return used


def completion(asked: VendorRequest, said: Said) -> dict[str, Any]:
    """A `GenerateContentResponse`."""
    body: dict[str, Any] = {}
    if any(choice.finish_reason == "content_filter" for choice in said.choices):
        body["promptFeedback"] = {"blockReason": "PROHIBITED_CONTENT"}
    else:
        body["candidates"] = [
            _candidate(index, _parts(asked, choice, said.number), choice) for index, choice in enumerate(said.choices)
        ]
    if said.counts is not None:
        body["usageMetadata"] = usage(said.counts)
    return {**body, **_envelope(asked, said)}


def _envelope(asked: VendorRequest, said: Said) -> dict[str, Any]:
    return {"modelVersion": asked.model, "responseId": f"sim{said.number:012d}"}


def _candidate(index: int, parts: list[dict[str, Any]], choice: Choice | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model"}, "index": index}
    if parts:
        candidate["content"]["parts"] = parts
    if choice is not None:
        candidate["finishReason"] = "SAFETY" if choice.refusal else _REASONS[choice.finish_reason]
        if choice.refusal:
            candidate["finishMessage"] = choice.refusal
            del candidate["content"]
    return candidate


def _parts(asked: VendorRequest, choice: Choice, number: int) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    thinking = asked.body.get("generationConfig", {}).get("thinkingConfig", {})
    if choice.reasoning and thinking.get("includeThoughts"):
        parts.append({"text": _THOUGHT, "thought": True})
    if choice.text:
        parts.append({"text": choice.text})
    signs = generation_of(asked.model) >= 3
    for position, call in enumerate(choice.tool_calls):
        made: dict[str, Any] = {"name": call.name, "args": orjson.loads(call.arguments)}
        part: dict[str, Any] = {"functionCall": made}
        if signs:
            made["id"] = call.id
            if position == 0:
                part["thoughtSignature"] = b64encode(b"sig-%d" % number).decode()
        parts.append(part)
    return parts


def stream(asked: VendorRequest, said: Said) -> list[bytes]:
    """The same as events with a part each; the finish reason comes with the last part."""
    envelope, events = _envelope(asked, said), list[dict[str, Any]]()
    if any(choice.finish_reason == "content_filter" for choice in said.choices):
        events.append(completion(asked, said))
    else:
        for index, choice in enumerate(said.choices):
            pieces = [piece for part in _parts(asked, choice, said.number) for piece in _split(part)]
            events += [{"candidates": [_candidate(index, [piece], None)], **envelope} for piece in pieces[:-1]]
            last = {"candidates": [_candidate(index, pieces[-1:], choice)], **envelope}
            events.append(last)
            if said.fault == "two-finish":
                events.append({"candidates": [_candidate(index, [], choice)], **envelope})
        _count(events, said)
    # Nothing but the end of the body ends a stream; what no part of it is can be left out.
    return [*(b"data: %b\r\n\r\n" % orjson.dumps(event) for event in events), b"\r\n"]


def _split(part: dict[str, Any]) -> list[dict[str, Any]]:
    if "text" not in part:
        return [part]
    return [{**part, "text": piece} for piece in pieces_of(part["text"])]


def _count(events: list[dict[str, Any]], said: Said) -> None:
    """Adds the counts: those of the prompt to each event, all of them to the last."""
    if said.counts is None or not events:
        return
    if said.fault == "middle-usage":
        events[0]["usageMetadata"] = usage(said.counts)
        return
    prompt = {"promptTokenCount": said.counts.input, "totalTokenCount": said.counts.input}
    for event in events[:-1]:
        event.setdefault("usageMetadata", prompt)
    events[-1]["usageMetadata"] = usage(said.counts)
    if said.fault == "duplicate-usage":
        events.append({"usageMetadata": usage(said.counts)})


def embeddings(asked: VendorRequest, vectors: Sequence[list[float]], counts: Counts | None) -> dict[str, Any]:
    """`embedding`, `embeddings` or `predictions`, as the method has them."""
    if asked.route.form == "predict":
        found: list[dict[str, Any]] = []
        for text, vector in zip(asked.inputs, vectors, strict=False):
            embedding: dict[str, Any] = {"values": vector}
            if counts is not None:
                tokens = text_tokens(text) if counts.input == asked.prompt_tokens else counts.input
                embedding["statistics"] = {"truncated": False, "token_count": tokens}
            found.append({"embeddings": embedding})
        return {"predictions": found, "metadata": {"billableCharacterCount": sum(map(len, asked.inputs))}}
    body: dict[str, Any] = {"embeddings": [{"values": vector} for vector in vectors]}
    if asked.route.form == "embedContent":
        body = {"embedding": {"values": vectors[0]}} if vectors else {}
    if counts is not None:
        body["usageMetadata"] = {"promptTokenCount": counts.input}
    return body
