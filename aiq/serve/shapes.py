"""The shapes in which clients speak to one endpoint: each a translation to OpenAI's chat form and back.

A shape knows no gateway: it turns bodies into bodies, and a stream of `chat.completion.chunk`s into a client's events.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Protocol

import orjson

from aiq.request import text_characters
from aiq.serve.http import event
from aiq.serve.refusals import Refusal, refuse


class Shape(Protocol):
    """One API's form of a chat: its body, its whole reply, its events and its errors."""

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body in OpenAI's chat form. Raises Refusal 400, which names the member that cannot be honoured."""
        ...

    def reply(self, completion: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        """The reply to `body` for a `chat.completion`."""
        ...

    def events(self, chunks: AsyncIterator[dict[str, Any]], body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        """The bytes of a stream for the chunks of an answer, the last of which has the usage and no choices."""
        ...

    def broken(self, refused: Refusal) -> bytes:
        """The last bytes of a stream that breaks off; the connection is cut after them."""
        ...

    def error(self, refused: Refusal) -> dict[str, Any]:
        """The body of a refusal."""
        ...


class OpenAIShape:
    """The form of chats, completions and embeddings that OpenAI and Databricks share: nothing to translate."""

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        return body

    def reply(self, completion: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in completion.items() if name != "output"}  # an agent's other form

    async def events(self, chunks: AsyncIterator[dict[str, Any]], body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        async for chunk in chunks:
            yield event(chunk)
        yield b"data: [DONE]\n\n"

    def broken(self, refused: Refusal) -> bytes:
        return event(refused.event)

    def error(self, refused: Refusal) -> dict[str, Any]:
        return dict(refused.body)


OPENAI: Shape = OpenAIShape()


def member(holder: dict[str, Any], name: str, kind: type, place: str, *, needed: bool = True) -> Any:
    """A member of an object of the body, checked by its type; None where it is absent and not needed."""
    value = holder.get(name)
    if value is None and not needed:
        return None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        words = {str: "a text", dict: "an object", list: "a list", int: "a whole number", bool: "true or false"}
        refuse(f"{place}{name} must be {words[kind]}")
    return value


def objects(value: Any, place: str) -> list[dict[str, Any]]:
    """A list of objects. Raises Refusal for anything else."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        refuse(f"{place} must be a list of objects")
    found: list[dict[str, Any]] = value
    return found


def only_choice(completion: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The message of the first choice, and why it ended."""
    choice = completion["choices"][0]
    return choice["message"], str(choice["finish_reason"])


def text_of(content: Any) -> str:
    """The text of a message's content in OpenAI's form."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def estimated_tokens(chat: dict[str, Any]) -> int:
    """Tokens of a chat's input, tools and their schemas with them: four characters each."""
    tools = len(orjson.dumps(chat["tools"])) if "tools" in chat else 0
    return (text_characters(chat) + tools) // 4 + 1
