"""MLflow's ChatAgent in its own form, at the invocations of an endpoint that is one.

Source: MLflow's `mlflow.types.agent`. Whole replies are chat completions as well, so that both kinds of readers find
what they look for; the events of a stream are the agent's: `{"delta": {..}}`, of every message of the answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from aiq.request import AGENTS_DELTA, AGENTS_OWN
from aiq.serve.http import event
from aiq.serve.shapes import OpenAIShape, Shape, only_choice


class ChatAgentShape(OpenAIShape):
    """A ChatAgent's messages. Its body and its errors are those of a chat."""

    def reply(self, completion: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        message, reason = only_choice(completion)
        own = {"messages": [{**message, "id": completion["id"]}], "finish_reason": reason}
        return own | super().reply(completion, body)

    async def events(self, chunks: AsyncIterator[dict[str, Any]], body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        said, reason = {"role": "assistant"}, "stop"
        async for chunk in chunks:
            if (delta := chunk.get(AGENTS_DELTA)) is not None:
                said = {name: delta[name] for name in ("role", "id") if name in delta}
                yield event({"delta": delta})
            for choice in chunk["choices"]:
                reason = choice["finish_reason"] or reason
                if delta is None and choice["delta"].get("content"):  # an answer that came in one piece
                    said["id"] = chunk["id"]
                    yield event({"delta": {**choice["delta"], **said}})
            if "usage" in chunk:
                own = {name: chunk[name] for name in AGENTS_OWN if name in chunk}
                ended = {"role": "assistant", "id": said.get("id") or chunk["id"], "content": ""}
                yield event({"delta": ended, "finish_reason": reason, "usage": chunk["usage"], **own})
        yield b"data: [DONE]\n\n"


CHAT_AGENT: Shape = ChatAgentShape()
