"""Whether an answer is complete: one table of finish reasons by the form that has them, and what each means.

What is not known to be complete is no answer but an error, which retries or falls back as its class says, and is never
kept. An answer that `max_tokens` cut is what was asked for, as long as there is one. Pure.

Sources: the API references of OpenAI, Azure, Mistral, DeepSeek, Zhipu, OpenRouter, TGI, vLLM, SGLang, Anthropic,
Google, Amazon Bedrock and Cohere.
"""

from __future__ import annotations

from typing import Any, Literal

from aiq.errors import ProviderError
from aiq.request import Usage

End = Literal["whole", "calls", "cut", "filtered", "failed", "unfinished", "unknown"]
Form = Literal["openai", "anthropic", "google", "bedrock", "cohere"]

_OPENAI: dict[str, End] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "stop_sequence", "end_turn", "complete", "completed", "end"), "whole"),
    **dict.fromkeys(("tool_calls", "function_call", "tool_use", "tool_call"), "calls"),
    **dict.fromkeys(("length", "max_tokens", "model_length", "max_output_tokens", "max_new_tokens"), "cut"),
    **dict.fromkeys(("model_context_window_exceeded", "max_length", "context_length"), "cut"),
    **dict.fromkeys(("content_filter", "content_filtered", "safety", "sensitive", "refusal", "blocked"), "filtered"),
    **dict.fromkeys(("guardrail_intervened", "recitation", "prohibited_content", "blocklist", "spii"), "filtered"),
    **dict.fromkeys(("error", "insufficient_system_resource", "network_error", "abort", "aborted"), "failed"),
    **dict.fromkeys(("cancelled", "canceled", "timeout", "failed", "server_error", "overloaded"), "failed"),
    **dict.fromkeys(("in_progress", "queued", "incomplete", "pause_turn"), "unfinished"),
}
ENDS: dict[Form, dict[str, End]] = {
    "openai": _OPENAI,
    "anthropic": {
        "end_turn": "whole",
        "stop_sequence": "whole",
        "tool_use": "calls",
        "max_tokens": "cut",
        "model_context_window_exceeded": "cut",
        "refusal": "filtered",
        "pause_turn": "unfinished",
    },
    "google": {
        "STOP": "whole",
        "MAX_TOKENS": "cut",
        "CONTINUATION": "cut",
        **dict.fromkeys(("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"), "filtered"),
        **dict.fromkeys(("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "ESCALATION"), "filtered"),
        **dict.fromkeys(("PUP_LIMITED_DISABLED", "MODEL_ARMOR"), "filtered"),
    },
    "bedrock": {
        "end_turn": "whole",
        "stop_sequence": "whole",
        "tool_use": "calls",
        "max_tokens": "cut",
        "model_context_window_exceeded": "cut",
        "guardrail_intervened": "filtered",
        "content_filtered": "filtered",
    },
    "cohere": {
        "COMPLETE": "whole",
        "STOP_SEQUENCE": "whole",
        "TOOL_CALL": "calls",
        "MAX_TOKENS": "cut",
        "ERROR": "failed",
        "TIMEOUT": "failed",
        "USER_CANCEL": "failed",
        "ERROR_TOXIC": "filtered",
    },
}
"""What a finish reason says of its answer. A reason that is not here is `unknown`."""
OPENAI_REASON: dict[End, str] = {"whole": "stop", "calls": "tool_calls", "cut": "length", "filtered": "content_filter"}
"""OpenAI's word for an end."""


def end_of(form: Form, reason: Any) -> End:
    """What a finish reason means. OpenAI's form is spoken by many servers: in any case, and left out by some."""
    if form != "openai":
        return ENDS[form].get(reason, "unknown") if isinstance(reason, str) else "unknown"
    if reason is None or (isinstance(reason, str) and reason.lower() in ("", "null", "none")):
        return "whole"  # the body has arrived completely, and says nothing against it
    return _OPENAI.get(reason.lower(), "unknown") if isinstance(reason, str) else "unknown"


def check_end(end: End, reason: Any, *, raw: str, usage: Usage, why: str = "") -> None:
    """Raises ProviderError for an answer that is not complete. `why` are the provider's words, without secrets."""
    reason_given = f": {why}" if why else ""
    if end == "filtered":
        words = f"the provider's content filter removed the answer ({reason}){reason_given}"
        raise ProviderError(words, kind="content_filter", status=400, body=raw, usage=usage)
    if end == "failed":
        words = f"the provider broke the answer off ({reason}){reason_given}"
        raise ProviderError(words, kind="overloaded", status=502, body=raw, usage=usage)
    if end in ("unfinished", "unknown"):
        words = f"the answer is not known to be whole: its reason to end is {str(reason)[:60]}{reason_given}"
        raise ProviderError(words, kind="bad_answer", status=502, body=raw, usage=usage, once=True)


def check_said(text: str | None, end: End, asked: dict[str, Any], *, reasoned: bool, raw: str, usage: Usage) -> None:
    """Raises ProviderError where there is nothing that could be the answer. `asked` is the request's body.

    An empty text is one where the request has stop sequences, which may be the first that comes; and where JSON was
    asked for, what is wrong with it is said elsewhere.
    """
    if text or (end != "cut" and asked.get("response_format")) or (not text and end == "whole" and asked.get("stop")):
        return
    if end == "cut":
        spent = "reasoning" if reasoned or usage.reasoning_tokens else "what is not shown"
        words = f"the model spent all its tokens on {spent} and gave no answer; raise max_tokens or have it reason less"
        raise ProviderError(words, kind="no_answer", status=502, body=raw, usage=usage)
    words = "the model reasoned and then gave no answer" if reasoned else "the model answered without a word"
    raise ProviderError(words, kind="bad_answer", status=502, body=raw, usage=usage, once=True)
