"""The seam between the gateway and the wire formats: pure adapters, no I/O, no clock.

An adapter turns a `Request` into an `HttpRequest` and an `HttpResponse` into an `Answer` or a `ProviderError`; a
stream's bytes, in whatever pieces they arrive, into `Chunk`s and an `Answer` at its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import orjson

from aiq.request import AGENTS_OWN, CHAT_TASKS, Answer, Request, Task, Usage


class HttpRequest(NamedTuple):
    """A POST that is ready to send."""

    url: str
    headers: list[tuple[str, str]]
    body: bytes

    def __repr__(self) -> str:
        """Without what headers say and without the prompt: tracebacks show locals."""
        names = ", ".join(name for name, _ in self.headers)
        return f"HttpRequest({self.url!r}, headers: {names}; {len(self.body)} bytes)"


class CloudToken(NamedTuple):
    """What the SDK of a cloud gave: a token, with AWS also the key pair that it belongs to. Valid for `valid_s`."""

    token: str
    valid_s: float
    key_id: str = ""
    secret: str = ""
    project: str = ""
    """Who pays, where Google is to know that."""

    def __repr__(self) -> str:
        """Without what is secret: tracebacks show locals."""
        return f"Grant(valid for {self.valid_s:g} s)"


class HttpResponse(NamedTuple):
    """A whole response. `header` looks a header up by its name, in any case; None if absent."""

    status: int
    header: Callable[[str], str | None]
    body: bytes


class StatedLimit(NamedTuple):
    """A rate limit as a provider states it: `remaining` of `limit`, and seconds until all of it remains again.

    `limit` is at least 1 and `remaining` between 0 and it, whatever was sent; `reset_s` is None where it is no time.
    """

    limit: float
    remaining: float
    reset_s: float | None


class StatedLimits(NamedTuple):
    """What a response states of requests and tokens; None where it does not.

    `tokens` are counted by a request's prompt and the longest answer it allows, or whatever the provider makes of it;
    `input_tokens` and `output_tokens` are those that a provider counts apart.
    """

    requests: StatedLimit | None
    tokens: StatedLimit | None
    input_tokens: StatedLimit | None = None
    output_tokens: StatedLimit | None = None


class Chunk(NamedTuple):
    """A piece of a streamed answer. `data` is the provider's event (OpenAI's chunk), `text` its content's new part.

    `token` is true where it carries a part of the answer; a role or a keep-alive is none. `usage` is set in the last.
    """

    data: dict[str, Any]
    text: str
    token: bool
    usage: Usage | None = None

    @classmethod
    def of(cls, answer: Answer, task: Task) -> Chunk:
        """An answer that came in one piece, with all its choices and tool calls."""
        choices = []
        for choice in orjson.loads(answer.raw).get("choices") or [{}]:
            part: dict[str, Any] = {"text": choice.get("text", answer.value)}
            if task in CHAT_TASKS:
                message = {"role": "assistant", "content": answer.value, **(choice.get("message") or {})}
                calls = message.get("tool_calls")
                if calls:
                    message["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
                part = {"delta": {name: value for name, value in message.items() if value is not None}}
            index, reason = choice.get("index", 0), choice.get("finish_reason") or answer.finish_reason
            choices.append({"index": index, **part, "finish_reason": reason})
        return cls({**_envelope(answer, task), "choices": choices}, answer.value or "", True)

    @classmethod
    def last(cls, answer: Answer, task: Task) -> Chunk:
        """The usage of an answer that has left."""
        tokens_in, tokens_out = answer.usage.input_tokens, answer.usage.output_tokens
        cached = {"cached_tokens": answer.usage.cached_tokens}
        if answer.usage.cache_write_tokens:
            cached["cache_write_tokens"] = answer.usage.cache_write_tokens
        usage = {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
            "prompt_tokens_details": cached,
            "completion_tokens_details": {"reasoning_tokens": answer.usage.reasoning_tokens},
        }
        own = {}
        if task.startswith("agent/"):
            raw = orjson.loads(answer.raw)
            own = {name: raw[name] for name in AGENTS_OWN if name in raw} | {"finish_reason": answer.finish_reason}
        return cls({**_envelope(answer, task), **own, "choices": [], "usage": usage}, "", False, answer.usage)


class StreamDecoder(Protocol):
    """Reads one streamed answer."""

    @property
    def ended(self) -> bool:
        """The provider has said that nothing follows."""
        ...

    @property
    def complete(self) -> bool:
        """The answer is whole, though its usage may still follow."""
        ...

    def feed(self, piece: bytes) -> list[Chunk]:
        """The chunks that a piece of the body completes. Raises ProviderError for an error in the stream."""
        ...

    def end(self) -> Answer:
        """The whole answer, when the body is over. Raises ProviderError where it broke off or is unusable."""
        ...

    def partial(self) -> Usage | None:
        """What a provider is likely to bill if it is left now, estimated; None before the first token."""
        ...


class Adapter(Protocol):
    """One served entity, spoken to in its own wire format."""

    @property
    def address(self) -> str:
        """The URL that requests begin with, for people and for checks: no key is ever in it."""
        ...

    def prepare(self) -> None:
        """Looks the entity's credential up, which may take seconds. Raises SecretError where there is none."""
        ...

    def hide(self, *values: str) -> None:
        """Values that go with the requests beside the adapter's own, and must not be seen in a provider's words."""
        ...

    def streams(self, request: Request) -> bool:
        """Whether the answer to this request can be had as a stream."""
        ...

    def encode(self, request: Request, *, stream: bool = False) -> HttpRequest:
        """The request as it goes over the wire; `prepare` came before. `stream` asks for the answer in chunks."""
        ...

    def decoder(self, request: Request, response: HttpResponse) -> StreamDecoder:
        """For the body of a streamed answer; of `response` only status and headers are there."""
        ...

    def decode(self, request: Request, response: HttpResponse) -> Answer:
        """Raises ProviderError for everything that is not a usable answer."""
        ...

    def stated_limits(self, response: HttpResponse) -> StatedLimits | None:
        """The rate limits that a response states in its headers, None where there are none."""
        ...

    def token_request(self) -> HttpRequest | None:
        """Asks for an access token; None where the entity's credential is used as it is. `prepare` came before."""
        ...

    def take_token(self, response: HttpResponse) -> float:
        """Keeps the token that a response grants; the seconds it is valid. Raises ProviderError where it grants none.

        `encode` uses the last one.
        """
        ...

    def take_cloud_token(self, cloud: CloudToken) -> None:
        """Keeps what a cloud's SDK gave, where the entity's configuration names one. `encode` uses the last one."""
        ...


def _envelope(answer: Answer, task: Task) -> dict[str, Any]:
    kind = "chat.completion.chunk" if task in CHAT_TASKS else "text_completion"
    return {"object": kind, "model": answer.model}
