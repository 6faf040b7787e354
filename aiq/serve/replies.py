"""Answers of the gateway as REST clients read them: OpenAI's shapes, with every member that some client needs.

Which clients: docs/serve.md. What a provider adds to these members goes through.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import orjson

from aiq.errors import ProviderError
from aiq.providers.base import Chunk
from aiq.providers.wire.openai_form import usage_body
from aiq.request import AGENTS_DELTA, AGENTS_ITEM, AGENTS_OWN, CHAT_TASKS, Answer, Request, Usage


def reply_of(answer: Answer, request: Request) -> dict[str, Any]:
    """The body of a whole answer."""
    raw = orjson.loads(answer.raw) if answer.raw else {}
    raw = raw if isinstance(raw, dict) else {}
    if request.task == "custom":
        return raw if "predictions" in raw or "outputs" in raw else {"predictions": answer.value}
    if request.task == "llm/v1/embeddings":
        data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(answer.value)]
        tokens = answer.usage.input_tokens
        return {
            "object": "list",
            "data": data,
            "model": answer.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    chat = request.task in CHAT_TASKS
    choices = raw.get("choices")
    found = choices if isinstance(choices, list) and choices else [{}]
    made = [_choice(choice, at, answer, chat=chat) for at, choice in enumerate(found)]
    others = {name: value for name, value in raw.items() if name not in ("choices", "usage")}
    head = _head(raw, answer.model, request, "chat.completion" if chat else "text_completion")
    return {**others, **head, "choices": made, "usage": usage_body(answer.usage)}


def _choice(choice: dict[str, Any], at: int, answer: Answer, *, chat: bool) -> dict[str, Any]:
    reason = choice.get("finish_reason") or answer.finish_reason or "stop"
    made = {**choice, "index": choice.get("index", at), "finish_reason": reason}
    if chat:
        message = choice.get("message") or {}
        made["message"] = {"role": "assistant", "content": answer.value if not choice else None, **message}
    else:
        made["text"] = choice.get("text", answer.value or "")
        made.setdefault("logprobs", None)
    return made


def _head(data: dict[str, Any], model: str, request: Request, kind: str) -> dict[str, Any]:
    created = data.get("created")
    return {
        "id": data.get("id") or request.id,
        "object": kind,
        "created": created if isinstance(created, int) and created else int(time.time()),
        "model": data.get("model") or model or request.endpoint,
    }


class Events:
    """The events of a streamed answer, after its first token.

    Each has id, object, created and model of the first; each choice ends once; the usage comes in one last event
    without choices. `agents_part` is the member of chunks in which an agent's own form is wanted as well, if any.
    """

    def __init__(
        self, chunks: AsyncGenerator[Chunk, None], request: Request, *, agents_part: str | None = None
    ) -> None:
        self._chunks, self._request, self._agents_part = chunks, request, agents_part
        self._kind = "chat.completion.chunk" if request.task in CHAT_TASKS else "text_completion"
        self._first: list[Chunk] = []
        self._head: dict[str, Any] = {}
        self._ended: set[int] = set()
        self._own: dict[str, Any] = {}
        self._reason = "stop"

    async def begin(self) -> None:
        """Waits for the first token. Raises the errors of `Gateway.stream`: nothing has left by then."""
        async for chunk in self._chunks:
            self._first.append(chunk)
            if (chunk.token and self._shown(chunk)) or chunk.usage is not None:
                break
        if not self._first:
            raise ProviderError(
                "the stream has no answer in it", kind="bad_answer", status=502, endpoint=self._request.endpoint
            )

    async def all(self) -> AsyncGenerator[dict[str, Any], None]:
        """All of them. Raises StreamBroken where the answer breaks off."""
        usage = Usage(0, 0)
        async with aclosing(self._chunks) as chunks:
            for chunk in self._first:
                usage = chunk.usage or usage
                for made in self._made(chunk):
                    yield made
            async for chunk in chunks:
                usage = chunk.usage or usage
                for made in self._made(chunk):
                    yield made
        if not self._ended:  # what the gateway lets end is whole
            part: dict[str, Any] = {"text": ""} if self._kind == "text_completion" else {"delta": {}}
            yield {**self._head, "choices": [{"index": 0, **part, "finish_reason": self._reason}]}
        yield {**self._head, **self._own, "choices": [], "usage": usage_body(usage)}

    def _shown(self, chunk: Chunk) -> bool:
        return bool(chunk.data.get("choices")) or self._agents_part in chunk.data

    def _made(self, chunk: Chunk) -> list[dict[str, Any]]:
        if not self._head:
            self._head = _head(chunk.data, "", self._request, self._kind)
        self._reason = chunk.data.get("finish_reason") or self._reason  # an agent's, of the whole answer
        self._own |= {name: chunk.data[name] for name in AGENTS_OWN if name in chunk.data}
        choices = []
        for choice in chunk.data.get("choices") or ():
            index, reason = choice.get("index", 0), choice.get("finish_reason")
            if reason is not None:
                if index in self._ended:
                    reason = None
                self._ended.add(index)
            part = {**choice, "index": index, "finish_reason": reason}
            if self._kind == "text_completion":
                part.setdefault("text", "")
            else:
                part["delta"] = _delta(choice.get("delta") or {})
            choices.append(part)
        if not self._shown(chunk):
            return []
        left_out = {"usage", "choices", AGENTS_ITEM, AGENTS_DELTA} - {self._agents_part}
        others = {name: value for name, value in chunk.data.items() if name not in left_out}
        return [{**others, **self._head, "choices": choices}]


def _delta(delta: dict[str, Any]) -> dict[str, Any]:
    calls = delta.get("tool_calls")
    if not calls:
        return delta
    return {**delta, "tool_calls": [{"index": at, **call} for at, call in enumerate(calls)]}
