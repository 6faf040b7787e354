"""What a person is told where one row ends a statement: which request it was, and what to do."""

from __future__ import annotations

from typing import Any

import orjson

from aiq.errors import GuardrailBlocked, RequestFailed

SHOWN_CHARACTERS = 60
_NO_TEXT = ("image_url", "input_audio", "file")


def beginning(body: dict[str, Any]) -> str:
    """The start of what a request asks, on one line: of its last message, its prompt or its input."""
    messages = body.get("messages")
    found: Any = messages[-1] if isinstance(messages, list) and messages else None
    if isinstance(found, dict):
        found = found.get("content")
    for name in ("prompt", "input", "inputs"):
        found = body.get(name) if found is None else found
    while isinstance(found, list | dict):
        if isinstance(found, dict):
            found = found["text"] if "text" in found else orjson.dumps(found, default=str).decode()
        else:  # of parts the first that is text
            found = next(
                (part for part in found if not (isinstance(part, dict) and part.get("type") in _NO_TEXT)), None
            )
    words = "" if found is None else " ".join(str(found)[: 4 * SHOWN_CHARACTERS].split())
    return words if len(words) <= SHOWN_CHARACTERS else f"{words[:SHOWN_CHARACTERS].rstrip()} ..."


def advice(error: RequestFailed, *, is_kept: bool) -> str:
    """What follows an error that ends its statement. `is_kept`: the answers so far are there for the next run.

    What a guardrail has refused to pass on is not shown either.
    """
    said = []
    if error.request and not isinstance(error, GuardrailBlocked):
        said.append(f"The row's request begins: '{error.request}'.")
    said.append("With failOnError => false such a row has an error in the place of its answer.")
    if is_kept:
        said.append("The other answers are kept: running the same statement again pays only for the rest.")
    return " ".join(said)
