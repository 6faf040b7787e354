"""What an error's words mean where its code does not say it, in the words of every vendor and server. Pure.

Sources: OpenAI, Anthropic, xAI, Groq, Mistral, DeepSeek, Moonshot, Qwen, Together, Fireworks, Cerebras, OpenRouter,
Databricks, Azure AI, GitHub Models, Amazon Bedrock; vLLM, SGLang, llama.cpp and its Python server, Ollama, LM Studio,
TGI, LiteLLM.
"""

from __future__ import annotations

import re

MAX_WORDS = 2000
"""So many characters are read for their meaning."""
TOO_LONG_STATUSES = frozenset({400, 413, 422, 500})
"""Statuses whose words may say that a prompt is too long."""

_TOO_LONG = re.compile(
    r"context[ _](length|window|size)[^.]{0,40}exceed|exceed[^.]{0,60}(context|max(imum)? (input|prompt|sequence))"
    r"|maximum (context|prompt|input|sequence|model) length|max(imum)? (number of )?(input|prompt|context) tokens"
    r"|(prompt|input|inputs|messages?|conversation|request|context)( \([^)]{0,60}\))?( is| are|) (too long|longer than)"
    r"|too many input tokens|input tokens exceeded|input (length|token count)[^.]{0,60}exceed"
    r"|reduce the length of (the |your )?(messages|input|prompt)|too large for (the |your )?\S{0,60} ?model with"
    r"|`?inputs`?( tokens \+ `?max_new_tokens`?)? must (have less than|be <=)|greater than the context length"
    r"|range of input length should be|exceeded model token limit|contextwindowexceedederror|exceed_context_size_error"
    r"|prompt token count of|prompt exceeds max|request body too large for \S+ model|tokens? in excess of the context",
    re.IGNORECASE,
)
_ANSWER_TOO_LONG = re.compile(
    r"completion tokens|too many tokens: max tokens|max_tokens.{0,40}(at most|less than or equal)", re.I
)


def is_too_long(words: str) -> bool:
    """Whether an error says that a prompt does not fit the model's context window. Not: a too large `max_tokens`."""
    beginning = words[:MAX_WORDS]
    return _TOO_LONG.search(beginning) is not None and (
        _ANSWER_TOO_LONG.search(beginning) is None or "context length" in beginning.lower()
    )
