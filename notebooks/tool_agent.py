"""An agent of two tools in plain MLflow, with a chat endpoint of `aiq serve` as its model.

    pip install mlflow openai uvicorn
    export OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=aiq-... AGENT_MODEL=chat
    uvicorn tool_agent:app --port 8000

As an endpoint of `aiq serve` (docs/serve-agents.md) it has that server's permissions, limits, guardrails and ledger;
so has each question that it asks its model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from mlflow.genai.agent_server import AgentServer, invoke, stream
from mlflow.types.responses import (
    ResponsesAgentRequest,
    ResponsesAgentResponse,
    ResponsesAgentStreamEvent,
    create_function_call_item,
    create_function_call_output_item,
    create_text_delta,
    create_text_output_item,
    to_chat_completions_input,
)
from openai import OpenAI

MODEL = os.environ.get("AGENT_MODEL", "chat")
MOST_ROUNDS = 5


def weather(city: str) -> str:
    """The weather in a city."""
    return f"It snows in {city}."


def add(a: float, b: float) -> str:
    """The sum of two numbers."""
    return f"{a + b:g}"


def _tool(function: Any, **parameters: str) -> dict[str, Any]:
    properties = {name: {"type": kind} for name, kind in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": list(parameters)}
    described = {"name": function.__name__, "description": function.__doc__, "parameters": schema}
    return {"type": "function", "function": described}


FUNCTIONS = {"weather": weather, "add": add}
TOOLS = [_tool(weather, city="string"), _tool(add, a="number", b="number")]

# Without a type, because a server of type ResponsesAgent does not hand on `databricks_options`.
app = AgentServer().app


@invoke()
def answer(body: dict[str, Any]) -> dict[str, Any]:
    """The whole answer: the items of the stream."""
    events = list(answer_in_pieces(body))
    items = [event.item for event in events if event.type == "response.output_item.done"]
    last = events[-1].model_dump(exclude_none=True)
    own = {name: last[name] for name in ("custom_outputs", "databricks_output") if name in last}
    return {**ResponsesAgentResponse(output=items).model_dump(exclude_none=True), **own}


@stream()
def answer_in_pieces(body: dict[str, Any]) -> Iterator[ResponsesAgentStreamEvent]:
    """Asks the model, calls the tools that it wants, and asks again with what they say."""
    client, request = OpenAI(), ResponsesAgentRequest(**body)
    messages = to_chat_completions_input([item.model_dump(exclude_none=True) for item in request.input])
    spans: list[dict[str, Any]] = []
    used: list[str] = []
    for _ in range(MOST_ROUNDS):
        text, calls, message_id = "", {}, f"msg_{len(spans)}"
        for chunk in client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS, stream=True):
            for choice in chunk.choices:
                if choice.delta.content:
                    text += choice.delta.content
                    yield ResponsesAgentStreamEvent(**create_text_delta(choice.delta.content, message_id))
                for call in choice.delta.tool_calls or ():
                    known = calls.setdefault(call.index, {"id": call.id, "name": "", "arguments": ""})
                    known["name"] += call.function.name or ""
                    known["arguments"] += call.function.arguments or ""
        spans.append({"name": "model", "inputs": list(messages), "outputs": text or list(calls.values())})
        if not calls:
            break
        asked = [
            {"id": call["id"], "type": "function", "function": {k: call[k] for k in ("name", "arguments")}}
            for call in calls.values()
        ]
        messages.append({"role": "assistant", "content": text or None, "tool_calls": asked})
        for call in calls.values():
            item = create_function_call_item(f"fc_{call['id']}", call["id"], call["name"], call["arguments"])
            yield ResponsesAgentStreamEvent(type="response.output_item.done", item=item)
            said = _called(call["name"], call["arguments"])
            spans.append({"name": call["name"], "inputs": call["arguments"], "outputs": said})
            used.append(call["name"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": said})
            item = create_function_call_output_item(call["id"], said)
            yield ResponsesAgentStreamEvent(type="response.output_item.done", item=item)
    yield ResponsesAgentStreamEvent(
        type="response.output_item.done",
        item=create_text_output_item(text, message_id),
        custom_outputs={**(request.custom_inputs or {}), "tools": used},
        **_trace(body, spans),
    )


def _called(name: str, arguments: str) -> str:
    """What a tool says; what is wrong with a call is for the model to read."""
    try:
        return FUNCTIONS[name](**json.loads(arguments))
    except (KeyError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def _trace(body: dict[str, Any], spans: list[dict[str, Any]]) -> dict[str, Any]:
    """The spans, where the request has `databricks_options: {return_trace: true}`."""
    options = body.get("databricks_options") or {}
    return {"databricks_output": {"trace": {"data": {"spans": spans}}}} if options.get("return_trace") else {}
