"""What passes between the wire, the vendors and the simulated model: a call, what it asks, and what is said to it.

`VendorRequest` and `Said` know no vendor. Messages are in OpenAI's shape, because it is the one that all others map to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Task = Literal["chat", "completions", "embeddings", "scoring", "page"]
"""What a route asks of a model. `page`: no model is asked (a list of models, an OAuth token); the vendor answers."""

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class VendorCall(NamedTuple):
    """One HTTP request as it arrived.

    `target` is path and query as they were sent; `headers` has lower-case names, the last value of a repeated one.
    """

    method: bytes
    target: bytes
    headers: Mapping[bytes, bytes]
    body: bytes


class VendorRoute(NamedTuple):
    """Where a path leads at a vendor.

    `model` and `stream` are set where the path says them. `form` is the vendor's own: which of its wire forms it is.
    """

    task: Task
    model: str = ""
    form: str = ""
    stream: bool | None = None


_CHAT = VendorRoute("chat")


class Prompt(NamedTuple):
    """What was asked: all texts, the last user text, and (media type, bytes) of each image."""

    texts: list[str]
    last: str
    images: list[tuple[str, int]]


class Tool(NamedTuple):
    """A function the model may call, and the JSON schema of its arguments."""

    name: str
    schema: Mapping[str, Any]


@dataclass(slots=True)
class VendorRequest:
    """A request after the vendor's validation, in words that are nobody's.

    Chat has `messages`; embeddings, completions and scoring have `inputs`. `prompt_tokens` is the input that is
    counted and billed, `reserve` what the vendor's quota takes for it before the answer is known (tokens).
    `limit` is the longest answer (tokens, reasoning with it). `tool_choice` is auto, none, required, or a tool's name.
    `schema` is what the answer must conform to; `json` asks for any JSON object. `effort` is the reasoning effort.
    `cacheable` is the beginning of the prompt that the vendor would cache, empty where it does not, `kept_1h` whether
    that is for an hour, `tier` the service tier. `sampling` is
    whatever else should change the answer. `body` is the request itself, for what only the vendor knows.
    `cached_tokens` and `written_tokens` are filled in before the quota is asked: prompt tokens read from and written
    to the cache.
    """

    task: Task
    model: str
    body: Mapping[str, Any]
    prompt_tokens: int = 0
    reserve: int = 0
    messages: Sequence[Mapping[str, Any]] = ()
    inputs: list[Any] = field(default_factory=list)
    tools: Sequence[Tool] = ()
    tool_choice: str = "auto"
    parallel: bool = True
    schema: Mapping[str, Any] | None = None
    json: bool = False
    n: int = 1
    limit: int | None = None
    stop: Sequence[str] = ()
    sampling: tuple[Any, ...] = ()
    effort: str | None = None
    stream: bool = False
    dimensions: int | None = None
    cacheable: str = ""
    kept_1h: bool = False
    tier: str = "default"
    route: VendorRoute = _CHAT
    cached_tokens: int = 0
    written_tokens: int = 0


class ToolCall(NamedTuple):
    """A call of a tool. `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


class Choice(NamedTuple):
    """One answer.

    `text` None: no content at all. `tokens` are those of text and tool calls, `reasoning` those of the thoughts before.
    `refusal` is set where the model declines, `stopped_by` where one of the stop sequences ended the text.
    """

    text: str | None
    finish_reason: FinishReason
    tokens: int
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: int = 0
    refusal: str | None = None
    stopped_by: str | None = None


class Counts(NamedTuple):
    """Tokens of an exchange, and the service tier that they are billed by.

    `input` has `cached` and `written` within it, `written` those that are kept for an hour, `output` has `reasoning`.
    """

    input: int
    output: int
    cached: int = 0
    written: int = 0
    reasoning: int = 0
    written_1h: int = 0
    tier: str = "default"


class Said(NamedTuple):
    """What the model says to an `VendorRequest`, with the faults that are in the words already.

    `number` counts answers from 1, `created` is in whole seconds since 1970. `choices` is empty for the fault `empty`,
    `counts` None for `no-usage`. `fault` is for the three that only the vendor's stream can commit: `duplicate-usage`,
    `middle-usage` (and only there) and `two-finish`; a vendor whose format has no place for one ignores it.
    """

    number: int
    created: int
    choices: Sequence[Choice]
    counts: Counts | None
    fault: str = ""
