"""What an answer of Bedrock's Converse holds, in OpenAI's words. Must never know a response or an error.

Source: the Amazon Bedrock API reference (ContentBlock, StopReason, TokenUsage).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from aiq.providers.bedrock.request import ANSWER_TOOL
from aiq.providers.wire.openai_form import count, tool_call
from aiq.providers.wire.usage import tier_of
from aiq.providers.wire.wholeness import OPENAI_REASON, end_of
from aiq.request import Usage


class Content(NamedTuple):
    """What was said. `answered`: the text is what the answer tool was called with."""

    text: str | None
    reasoning: str | None
    calls: list[dict[str, Any]]
    answered: bool

    @property
    def characters(self) -> int:
        """Characters that were generated."""
        said = len(self.text or "") + len(self.reasoning or "")
        return said + sum(len(call["function"]["arguments"]) for call in self.calls)


def finish_reason(reason: str, *, calls: bool, answered: bool) -> str:
    """OpenAI's `finish_reason`. To call the answer tool alone is to answer."""
    finish = OPENAI_REASON.get(end_of("bedrock", reason), reason)
    return "stop" if finish == "tool_calls" and answered and not calls else finish


def content_of(blocks: list[dict[str, Any]], reason: str) -> Content:
    """What the blocks of an answer say. A tool's `input` may be JSON text. Raises ValueError and the like."""
    if len(blocks) == 1 and blocks[0].get("text") is not None:
        return Content(_text(blocks[0]["text"]), None, [], False)
    texts: list[str] = []
    reasoning: list[str] = []
    calls: list[dict[str, Any]] = []
    answer: str | None = None
    for block in blocks:
        if block.get("text") is not None:
            texts.append(_text(block["text"]))
        elif "toolUse" in block:
            used = block["toolUse"]
            if isinstance(used["input"], str) and reason == "tool_use":
                orjson.loads(used["input"])  # cut short it need not be JSON, but then there is another reason
            call = tool_call(_text(used["toolUseId"]), _text(used["name"]), used["input"])
            if used["name"] == ANSWER_TOOL:
                answer = call["function"]["arguments"]
            else:
                calls.append(call)
        elif "reasoningContent" in block:
            reasoning.append(_text(block["reasoningContent"].get("reasoningText", {}).get("text", "")))
        elif "citationsContent" in block:
            texts += [_text(part["text"]) for part in block["citationsContent"].get("content", ())]
    text = "".join(texts) if texts else None
    return Content(text if answer is None else answer, "".join(reasoning) or None, calls, answer is not None)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


def usage_of(body: Any) -> Usage | None:
    """Bedrock's own count, or None where it is missing or absurd. Its input tokens are without those of the cache.

    `body` is the whole answer: the tier, and whether it was answered faster for more money, stand next to the usage.
    """
    usage = body.get("usage") if isinstance(body, dict) else None
    if not isinstance(usage, dict):
        return None
    fresh, out = count(usage.get("inputTokens")), count(usage.get("outputTokens"))
    if fresh is None or out is None:
        return None
    read, written = count(usage.get("cacheReadInputTokens")) or 0, count(usage.get("cacheWriteInputTokens")) or 0
    hour = 0
    for detail in usage["cacheDetails"] if isinstance(usage.get("cacheDetails"), list) else ():
        if isinstance(detail, dict) and detail.get("ttl") == "1h":
            hour += count(detail.get("inputTokens")) or 0
    tier, speed = body.get("serviceTier"), body.get("performanceConfig")
    optimized = isinstance(speed, dict) and speed.get("latency") not in (None, "standard")
    return Usage(
        fresh + read + written,
        out,
        read,
        cache_write_tokens=written,
        cache_write_1h_tokens=min(hour, written),
        service_tier=tier_of(tier.get("type")) if isinstance(tier, dict) else None,
        surcharge="latency optimized" if optimized else None,
    )
