"""Agents behind a URL, as MLflow serves them: `/agents/<name>/invocations`; the body says which of the two kinds.

`input` asks a ResponsesAgent (`agent/v1/responses`), `messages` the older ChatAgent (`agent/v2/chat`). Source: MLflow's
"ResponsesAgent Introduction" and its `mlflow.types.agent`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from aiq.simulator.answers import pieces_of
from aiq.simulator.checks import Check, anything
from aiq.simulator.exchange import Choice, Counts, Said, VendorRequest, VendorRoute
from aiq.simulator.refusal import VendorError
from aiq.simulator.tokens import chat_tokens
from aiq.simulator.vendors import responses, responses_format
from aiq.simulator.vendors.base import event, only
from aiq.simulator.vendors.mlflow import MLflow
from aiq.simulator.vendors.openai_checks import boolean, check_all, object_
from aiq.simulator.vendors.openai_parameters import check_messages

_PATH = re.compile(rb"/agents/([^/]+)/(?:invocations|responses)")
_DONE = b"data: [DONE]\n\n"
_CHAT: dict[str, Check] = {
    "messages": check_messages,
    "context": object_,
    "custom_inputs": object_,
    "stream": boolean,
    "max_tokens": anything,
    "temperature": anything,
    "databricks_options": anything,
}


class Agents(MLflow):
    """A server of agents. What an agent's model costs is its own affair, but it tells its tokens."""

    name = "agents"
    bases = (("MLflow agent", "/agents/NAME/invocations"),)
    broken_event = b'data: {"type": "response.output_text.delta", "del\n\n'

    def route(self, method: bytes, path: bytes, query: bytes) -> VendorRoute | None:
        """An agent's path; the body says which kind it is."""
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        only(method, b"POST", path)
        return VendorRoute("chat", match[1].decode("latin-1"), form="agent")

    def read(self, body: dict[str, Any], route: VendorRoute) -> VendorRequest:
        """Input items or messages."""
        if "input" in body:
            return responses.read(body, route.model, route._replace(form="responses"), responses.AGENT)
        check_all(body, _CHAT, "messages")
        messages = body["messages"]
        asked = VendorRequest("chat", route.model, body, chat_tokens(messages), messages=messages, route=route)
        asked.stream, asked.reserve = bool(body.get("stream")), asked.prompt_tokens
        return asked

    def full_body(self, asked: VendorRequest, said: Said) -> dict[str, Any]:
        """A response, or messages."""
        if asked.route.form == "responses":
            return {**responses_format.response(asked, said), "custom_outputs": None, **_own(asked)}
        body: dict[str, Any] = {"messages": [_message(said, choice) for choice in said.choices]}
        body["finish_reason"] = said.choices[0].finish_reason if said.choices else None
        return body | _own(asked) | ({} if said.counts is None else {"usage": _usage(said.counts)})

    def stream(self, asked: VendorRequest, said: Said) -> list[bytes]:
        """Events without names and numbers; deltas of messages for a ChatAgent. `[DONE]` is the last of both."""
        if asked.route.form != "responses":
            return [*map(event, _deltas(said, _own(asked))), _DONE]
        full = responses_format.response(asked, said) | _own(asked)
        events = []
        for item in full["output"]:
            for part in item.get("content") or ():
                pieces = pieces_of(part.get("text") or "")
                events += [event(_delta(item["id"], piece)) for piece in pieces]
            events.append(event({"type": "response.output_item.done", "item": item}))
        for _ in range(2 if said.fault == "two-finish" else 1):
            events.append(event({"type": "response.completed", "response": full}))
        return [*events, _DONE]

    def error_event(self, refusal: VendorError) -> bytes:
        """The error as both kinds send it."""
        return event({"type": "error", "error": {"message": refusal.message, "code": str(refusal.status)}})


def _delta(item_id: str, piece: str) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "item_id": item_id, "delta": piece}


def _message(said: Said, choice: Choice) -> dict[str, Any]:
    content = choice.text if choice.refusal is None else choice.refusal
    return {"role": "assistant", "content": content, "id": f"msg_sim{said.number:012d}"}


def _own(asked: VendorRequest) -> dict[str, Any]:
    """What is no answer: the inputs of its own come back as outputs, and the trace where it was asked for."""
    own: dict[str, Any] = {}
    if inputs := asked.body.get("custom_inputs"):
        own["custom_outputs"] = inputs
    options = asked.body.get("databricks_options")
    if isinstance(options, dict) and options.get("return_trace"):
        own["databricks_output"] = {"trace": {"data": {"spans": [{"name": asked.model}]}}}
    return own


def _deltas(said: Said, own: dict[str, Any]) -> Iterator[dict[str, Any]]:
    counted = None if said.counts is None else _usage(said.counts)
    for choice in said.choices:
        message = _message(said, choice)
        for piece in pieces_of(message["content"] or "") or [""]:
            yield {"delta": {**message, "content": piece}}
        end = {"delta": {**message, "content": ""}, "finish_reason": choice.finish_reason, **own}
        for _ in range(2 if said.fault == "two-finish" else 1):
            yield end if counted is None else {**end, "usage": counted}


def _usage(counts: Counts) -> dict[str, int]:
    total = counts.input + counts.output
    return {"prompt_tokens": counts.input, "completion_tokens": counts.output, "total_tokens": total}
