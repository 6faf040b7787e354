"""Custom guardrails: an endpoint that answers `proceed` or `reject`, in the contract of Databricks' preview.

It gets the request's messages (or the answer's choices) with the phase, and answers with `decision`, `reject_message`
and `guardrail_response`. Builds a request and reads an answer; who asks is not known here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from aiq.policy.guardrails.texts import parse_json
from aiq.request import CHAT_TASKS, Task


class Decision(NamedTuple):
    """What the endpoint decided. `response` is what it wants the caller to see, None for nothing."""

    rejected: bool
    message: str | None = None
    response: Any = None


def custom_body(task: Task, phase: Literal["input", "output"], content: list[Any]) -> dict[str, Any]:
    """The request about `content`: messages on the input side, choices on the output side.

    A custom model gets it as one record, any other endpoint as JSON text.
    """
    name = "messages" if phase == "input" else "choices"
    record = {name: content, "mode": {"phase": phase, "stream_mode": "non_streaming"}}
    if task == "custom":
        return {"dataframe_records": [record]}
    text = json.dumps(record, ensure_ascii=False)
    return {"messages": [{"role": "user", "content": text}]} if task in CHAT_TASKS else {"prompt": text}


def read_decision(value: object) -> Decision:
    """The endpoint's answer. Raises ValueError for anything that decides nothing."""
    data = parse_json(value[0] if isinstance(value, list) and value else value)
    decision = data.get("decision") if isinstance(data, Mapping) else None
    if decision not in ("proceed", "reject"):
        raise ValueError('the answer has no "decision" of proceed or reject')
    reply = data.get("guardrail_response")
    shown = reply.get("response") if isinstance(reply, Mapping) and reply.get("include_in_response") is True else None
    message = data.get("reject_message")
    return Decision(decision == "reject", str(message) if message else None, shown)
