"""The few values that travel through the whole house. Must never know a wire format, a socket or an engine."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Task = Literal[
    "llm/v1/chat", "llm/v1/completions", "llm/v1/embeddings", "agent/v1/responses", "agent/v2/chat", "custom"
]
"""Databricks task names; `custom` is a model scored with its own inputs (MLflow's scoring protocol)."""

CHAT_TASKS: frozenset[Task] = frozenset({"llm/v1/chat", "agent/v1/responses", "agent/v2/chat"})
"""Tasks whose requests are chats: to agents as well, whatever goes over the wire."""

AGENTS_OWN = ("custom_outputs", "databricks_output")
"""What an agent gives beside its answer: outputs of its own, and the trace that was asked for."""
AGENTS_ITEM = "agent_item"
"""In a chunk of a streamed answer: a finished item of an agent that is no message, such as a call of a tool."""
AGENTS_DELTA = "agent_delta"
"""In a chunk of a streamed answer: what a ChatAgent sent, which may be a call of a tool or what the tool said."""


class Caller(NamedTuple):
    """Who asks. `user` is an e-mail or a service principal's id, `groups` the groups it belongs to.

    `usage_context` is recorded in `endpoint_usage` and never sent to a provider.
    """

    user: str
    groups: tuple[str, ...] = ()
    usage_context: Mapping[str, str] | None = None


class Request(NamedTuple):
    """One request to an endpoint, before routing.

    `body` is in OpenAI's shape (`messages`, `input`, ...) without a model name, or for task `custom` the scoring
    body. `rows` is how many SQL rows it answers (an embeddings call answers several). `key` is the 16-byte hash
    over endpoint, entity configuration and canonical body by which it is paid once.
    """

    endpoint: str
    task: Task
    body: dict[str, Any]
    caller: Caller
    statement_id: str
    key: bytes = b""
    rows: int = 1
    client_request_id: str | None = None
    deadline_s: float | None = None
    """Monotonic time in seconds after which nobody waits for the answer any more."""
    interactive: bool = False
    """Somebody waits in person: where a batch would wait for a rate limit, it is refused with 429."""
    id: str | None = None
    """Its id in the ledger; None for a new one."""
    call_timeout_s: float | None = None
    """Seconds that a call of it may take, if that is less than its endpoint's; waiting for a turn is no part of it."""
    function: str | None = None
    """The SQL function that asks; None for a request over REST."""
    suspect: bool = False
    """A part of a pack of texts that failed as a whole: one of them may be what the provider fails at."""
    entity: str | None = None
    """The served entity that alone may answer; None for those that the traffic and the fallbacks choose."""


class Usage(NamedTuple):
    """What one call is billed by. `cached_tokens` is a part of `input_tokens`, `reasoning_tokens` of `output_tokens`.

    `cache_write_tokens` is the part of `input_tokens` that was put into the provider's cache, where that costs more;
    `cache_write_1h_tokens` the part of those that stay an hour, `cached_audio_tokens` a part of `cached_tokens`.
    `estimated` is true where the provider sent no usage and (text length + 1) / 4 stands in.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    audio_input_tokens: int = 0
    cached_audio_tokens: int = 0
    audio_output_tokens: int = 0
    image_output_tokens: int = 0
    service_tier: str | None = None
    """Of the answer, `standard` where it is the usual one; None where the provider does not say."""
    stated_usd: float | None = None
    """US dollars, where the provider itself says what the call costs."""
    surcharge: str | None = None
    """What is billed beside tokens, or tokens by another price list: `2 web searches`, `speed fast`."""

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing in it but tokens of text at the usual prices."""
        return self[6:11] == _NO_TOKENS and self[11] in _USUAL and self[12] is None and self[13] is None


_NO_TOKENS = (0, 0, 0, 0, 0)
_USUAL = (None, "standard")


class Answer(NamedTuple):
    """What a provider answered.

    `value`: chat and completions str (None when the model sent no content), embeddings `list[list[float]]` in
    input order, custom models the `predictions` list. `raw` is the response body as JSON text.
    """

    value: Any
    usage: Usage
    model: str
    finish_reason: str | None
    raw: str
    cost_usd: float | None = None
    entity: str = ""
    """The served entity that answered; the gateway says which."""


def text_characters(body: dict[str, Any]) -> int:
    """Characters of text a request carries: message contents, prompt or inputs; images do not count."""
    total = 0
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            total += len(content)
        elif isinstance(content, list):
            texts = (part.get("text") for part in content if isinstance(part, dict))
            total += sum(len(text) for text in texts if isinstance(text, str))
    for key in ("prompt", "input"):
        value = body.get(key)
        if isinstance(value, str):
            total += len(value)
        elif isinstance(value, list):
            total += sum(len(text) for text in value if isinstance(text, str))
    return total


_ID_PREFIX = str(uuid.uuid4())[:24]
_id_counter = itertools.count(1)


def new_request_id() -> str:
    """A UUID-shaped id, unique in the world by its random prefix and cheap by its counter."""
    return f"{_ID_PREFIX}{next(_id_counter) & 0xFFFFFFFFFFFF:012x}"


def new_request_ids(count: int) -> list[str]:
    """As many ids as `new_request_id` would give one by one."""
    return [f"{_ID_PREFIX}{number & 0xFFFFFFFFFFFF:012x}" for number in itertools.islice(_id_counter, count)]


def _renew_ids_after_fork() -> None:
    """A forked child must not continue its parent's ids."""
    global _ID_PREFIX
    _ID_PREFIX = str(uuid.uuid4())[:24]


os.register_at_fork(after_in_child=_renew_ids_after_fork)
