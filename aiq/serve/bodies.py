"""The body of a REST request as a `Request` of the gateway: read by the endpoint's task, refused by name.

What a client sends to every server (`stream_options`, `store: false`, empty lists) is left out where it changes
nothing. What cannot be honoured is an error, never dropped. Source: Databricks' serving reference, and "What is sent"
of its clients in docs/serve.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from aiq.config.endpoint import Endpoint
from aiq.functions.model_parameters import Refused, checked_parameters
from aiq.providers import abilities_of
from aiq.providers.abilities import Abilities
from aiq.request import CHAT_TASKS, Caller, Request
from aiq.serve.refusals import refuse

_CUSTOM = ("dataframe_split", "dataframe_records", "inputs", "instances")
_CONTENT: dict[str, tuple[str, ...]] = {
    "llm/v1/chat": ("messages",),
    "agent/v1/responses": ("messages",),
    "agent/v2/chat": ("messages",),
    "llm/v1/completions": ("prompt",),
    "llm/v1/embeddings": ("input",),
    "custom": _CUSTOM,
}
"""By task, the member that has what is asked: exactly one of them."""
_ANY = {"messages", "prompt", "input", *_CUSTOM}
_UNNEEDED: dict[str, tuple[object, ...]] = {
    "stream_options": (),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "encoding_format": ("float", "base64"),
}
"""Members that change nothing in what is answered, with the values for which that is so; no value stands for any."""
_WISHES = ("parallel_tool_calls", "metadata", "user", "safety_identifier", "prompt_cache_key", "service_tier")
"""Parameters without which an answer is as good: left out where a provider has no such thing."""
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
MAX_ANSWERS = 128
TAGS = "Databricks-Ai-Gateway-Request-Tags"


class ParsedBody(NamedTuple):
    """What a body asks: the request, and whether its answer is wanted as a stream."""

    request: Request
    stream: bool


def asked_of(
    endpoint: Endpoint,
    body: dict[str, Any],
    caller: Caller,
    tag: str,
    *,
    task: str | None = None,
    entity: str | None = None,
    tags: str | None = None,
) -> ParsedBody:
    """Reads a body. `tag` becomes the request's id, `task` is the one that the path is for, None for any.

    `entity` is the served entity that alone is asked, None for those that the traffic chooses; `tags` are those of the
    request's header, which stand in the ledger as its usage context does.

    Raises Refusal 400, which names the member that is wrong.
    """
    if task is not None and task != endpoint.task and not (task == "llm/v1/chat" and endpoint.task in CHAT_TASKS):
        refuse(f"endpoint '{endpoint.name}' has task {endpoint.task}; this path is for {task}")
    given = {name: value for name, value in body.items() if value is not None}
    given.pop("model", None)
    stream = _boolean(given, "stream")
    context = _with_tags(_usage_context(given), tags)
    client_request_id = _text(given, "client_request_id", 256)
    agents_own = _agents_own(endpoint, given)
    content = _content(endpoint, given)
    if endpoint.task == "custom":
        if stream:
            refuse("the predictions of a custom model do not come in pieces; leave stream out")
        made = {**given, **content}
    else:
        made = {**content, **_parameters(endpoint, given, entity), **agents_own}
    request = Request(
        endpoint.name,
        endpoint.task,
        made,
        caller._replace(usage_context=context),
        statement_id=tag,
        client_request_id=client_request_id,
        interactive=True,
        id=tag,
        entity=entity,
    )
    return ParsedBody(request, stream)


def _agents_own(endpoint: Endpoint, given: dict[str, Any]) -> dict[str, Any]:
    """Takes out of a body what is for an agent: `custom_inputs`, `context`, `databricks_options`."""
    found = {}
    for name in ("custom_inputs", "context", "databricks_options"):
        options = given.pop(name, None) or {}
        if not isinstance(options, dict):
            refuse(f"{name} must be an object")
        if options and endpoint.task.startswith("agent/"):
            found[name] = options
        elif options and name != "databricks_options":  # which changes nothing in what is answered
            refuse(f"{name} is for agents; endpoint '{endpoint.name}' is a {endpoint.task}")
    return found


def _content(endpoint: Endpoint, given: dict[str, Any]) -> dict[str, Any]:
    """Takes the content out of a body, and checks it."""
    wanted = _CONTENT[endpoint.task]
    found = [name for name in (*wanted, *sorted(_ANY - set(wanted))) if name in given]
    if len(found) != 1 or found[0] not in wanted:
        others = ", ".join(found) or "none of them"
        refuse(f"endpoint '{endpoint.name}' ({endpoint.task}) takes {_one_of(wanted)}; the request has {others}")
    value = given.pop(found[0])
    if found[0] == "messages":
        _check_messages(value)
    elif found[0] == "prompt":
        if not isinstance(value, str):
            refuse("prompt must be a text; send several prompts as several requests")
    elif found[0] == "input":
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
            refuse("input must be a text or a list of texts, not tokens: check_embedding_ctx_length=False in LangChain")
    return {found[0]: value}


def _one_of(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else "one of " + ", ".join(names)


def _parameters(endpoint: Endpoint, given: dict[str, Any], entity: str | None) -> dict[str, Any]:
    """The parameters of a body as the request has them: those that all can honour who may be asked."""
    extra = given.pop("extra_params", {})
    if not isinstance(extra, dict):
        refuse("extra_params must be an object")
    for name, values in _UNNEEDED.items():
        if name in given and (not values or given[name] in values):
            del given[name]
    given = {name: value for name, value in given.items() if value not in ([], {})}
    named = [each for each in endpoint.entities if each.name == entity]
    providers: dict[str, Abilities] = {each.provider: abilities_of(each) for each in named or endpoint.entities}
    for name in _WISHES:
        if name in given and not all(
            able.honours(endpoint.task, name) or able.has_own(name) for able in providers.values()
        ):
            del given[name]
    made: dict[str, Any] = {}
    if "n" in given:
        answers = given.pop("n")
        if isinstance(answers, bool) or not isinstance(answers, int) or not 1 <= answers <= MAX_ANSWERS:
            refuse(f"n must be a whole number between 1 and {MAX_ANSWERS}")
        if answers > 1:
            made["n"] = answers
    if "response_format" in given:
        made["response_format"] = _response_format(given.pop("response_format"))
    _check_tools(given.get("tools", []))
    if extra:
        given["extra_params"] = extra
    if endpoint.task not in ("llm/v1/chat", "llm/v1/completions", "llm/v1/embeddings"):
        return {**given, **made}  # an agent's own
    try:
        return {**made, **checked_parameters(given, task=endpoint.task, providers=providers)}
    except Refused as refused:
        refuse(refused.reason)


def _response_format(value: Any) -> dict[str, Any]:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in ("text", "json_object", "json_schema"):
        refuse("response_format must be an object of type text, json_object or json_schema")
    schema = value.get("json_schema")
    if kind == "json_schema" and not (isinstance(schema, dict) and isinstance(schema.get("schema"), dict)):
        refuse("response_format of type json_schema needs json_schema: {name, schema}")
    found: dict[str, Any] = value
    return found


def _check_messages(messages: Any) -> None:
    """Raises Refusal for what no provider could be told; what a model makes of the rest is for its provider to say."""
    if not isinstance(messages, list) or not messages:
        refuse("messages must be a list with at least one message")
    for at, message in enumerate(messages):
        place = f"messages[{at}]"
        if not isinstance(message, dict):
            refuse(f"{place} must be an object with role and content")
        if str(message.get("role")) not in _ROLES:
            refuse(f"{place}.role must be one of {', '.join(sorted(_ROLES))}")
        content = message.get("content")
        if isinstance(content, list):
            for number, part in enumerate(content):
                _check_part(part, f"{place}.content[{number}]")
        elif content is not None and not isinstance(content, str):
            refuse(f"{place}.content must be a text, a list of parts, or null")
        if message["role"] == "tool" and not isinstance(message.get("tool_call_id"), str):
            refuse(f"{place}.tool_call_id must name the call that is answered")
        calls = message.get("tool_calls")
        if calls is not None and not (isinstance(calls, list) and all(map(_is_tool_call, calls))):
            refuse(f"{place}.tool_calls must be a list of {{id, type, function: {{name, arguments}}}}")


def _check_part(part: Any, place: str) -> None:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        refuse(f"{place} must be an object with a type")
    if part["type"] == "text" and not isinstance(part.get("text"), str):
        refuse(f"{place}.text must be a text")
    if part["type"] == "image_url":
        image = part.get("image_url")
        if not isinstance(image, dict) or not isinstance(image.get("url"), str):
            refuse(f"{place}.image_url must be an object with a url")


def _is_tool_call(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    return (
        isinstance(function, dict)
        and isinstance(call.get("id"), str)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("arguments"), str)
    )


def _check_tools(tools: Any) -> None:
    def is_tool(tool: Any) -> bool:
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        named = isinstance(function, dict) and isinstance(function.get("name"), str)
        return named or (isinstance(tool, dict) and isinstance(tool.get("type"), str) and tool["type"] != "function")

    if not isinstance(tools, list) or not all(map(is_tool, tools)):
        refuse("tools must be a list of {type: function, function: {name, parameters}}")


def _usage_context(given: dict[str, Any]) -> dict[str, str] | None:
    context = given.pop("usage_context", None)
    if context is None:
        return None
    if not isinstance(context, dict) or not all(isinstance(value, str) for value in context.values()):
        refuse("usage_context must be an object of texts")
    found: dict[str, str] = context
    return found


def _with_tags(context: dict[str, str] | None, header: str | None) -> dict[str, str] | None:
    """The usage context with the tags of the header: an object of texts, which contradicts it nowhere."""
    if header is None:
        return context
    try:
        tags = orjson.loads(header.encode("latin-1"))
    except orjson.JSONDecodeError:
        tags = None
    if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
        refuse(f"the header {TAGS} must be a JSON object of texts")
    for name, value in tags.items():
        if context is not None and context.get(name, value) != value:
            refuse(f"the header {TAGS} and usage_context have different values for {name[:100]}; send it once")
    found: dict[str, str] = {**(context or {}), **tags}
    return found


def _boolean(given: dict[str, Any], name: str) -> bool:
    value = given.pop(name, False)
    if not isinstance(value, bool):
        refuse(f"{name} must be true or false")
    return value


def _text(given: dict[str, Any], name: str, most: int) -> str | None:
    value = given.pop(name, None)
    if value is not None and not (isinstance(value, str) and len(value) <= most):
        refuse(f"{name} must be a text of at most {most} characters")
    found: str | None = value
    return found
