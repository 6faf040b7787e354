"""OpenAI's wire format: chat completions, completions and embeddings, at OpenAI, Azure OpenAI and any server that
speaks the same (provider `custom`). Must never know sockets, clocks or policy.

Source: the OpenAI API reference; Azure OpenAI's differences (path, api-key header, content filter codes); Microsoft's
"OAuth 2.0 client credentials flow" for Azure with Entra.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import orjson

from aiq.config.connections import CustomConfig, OpenAIConfig, Secret
from aiq.config.endpoint import ServedEntity
from aiq.errors import ErrorKind, ProviderError
from aiq.providers.abilities import Abilities
from aiq.providers.base import CloudToken, HttpRequest, HttpResponse, StreamDecoder
from aiq.providers.openai.azure import azure_url, deployment_of, entra_request
from aiq.providers.openai.stream import OpenAIStream, is_error
from aiq.providers.wire.content import spoken, without_thoughts
from aiq.providers.wire.errors import error_from_body, shorten, unusable
from aiq.providers.wire.external import ExternalAdapter
from aiq.providers.wire.http import kind_of_status
from aiq.providers.wire.lenient import read_json
from aiq.providers.wire.oauth import token_of
from aiq.providers.wire.streams import WholeBody, is_events, is_stream, read_events
from aiq.providers.wire.usage import known_or_estimated, stated_usage
from aiq.providers.wire.waiting import refusal
from aiq.providers.wire.wholeness import check_end, check_said, end_of
from aiq.providers.wire.words import TOO_LONG_STATUSES, is_too_long
from aiq.request import Answer, Request

_PATHS = {
    "llm/v1/chat": "/chat/completions",
    "llm/v1/completions": "/completions",
    "llm/v1/embeddings": "/embeddings",
}

_KIND_OF_CODE: dict[str, ErrorKind] = {
    "insufficient_quota": "quota_exhausted",
    "billing_hard_limit_reached": "quota_exhausted",
    "rate_limit_exceeded": "rate_limited",
    "context_length_exceeded": "context_length",
    "string_above_max_length": "context_length",
    "content_policy_violation": "content_filter",
    "content_filter": "content_filter",
    "ResponsibleAIPolicyViolation": "content_filter",
    "model_not_found": "not_found",
    "DeploymentNotFound": "not_found",
    "invalid_api_key": "auth",
}
_UNCLEAR = frozenset({"bad_request", "overloaded", "bad_answer"})
"""Classes that a status alone gives, and words may make more precise."""
_USE_OTHER_NAME = re.compile(r"max_tokens\b.{0,80}\bmax_completion_tokens", re.IGNORECASE | re.DOTALL)
"""A model that takes the newer name only, said without a code."""
_NUMBERS = frozenset({int, float})
_STATUS_OF_KIND: dict[ErrorKind, int] = {
    "rate_limited": 429,
    "quota_exhausted": 429,
    "context_length": 400,
    "content_filter": 400,
    "auth": 401,
    "not_found": 404,
}


class OpenAIAdapter(ExternalAdapter):
    """Speaks to one served entity."""

    abilities = Abilities()
    _says_thoughts = False
    """Whether a model may say its thoughts at the beginning of its text, in a block of their own."""

    _says_no_stream = False
    """Whether the server may stream unless the request says not to."""

    def __init__(self, entity: ServedEntity, clock: Callable[[], float]) -> None:
        super().__init__(entity, clock)
        self.address = self._url = self._address()
        self._headers: list[tuple[str, str]] = []
        self._entra = entity.config.entra if isinstance(entity.config, OpenAIConfig) else None
        self._client_secret = ""
        self._model = self._model_name() if self._names_model() else None
        # Set when the model itself says so: reasoning models refuse max_tokens, old servers stream_options.
        self._max_completion_tokens = False
        self._no_stream_options = False

    def _address(self) -> str:
        return _url(self._entity)

    def _names_model(self) -> bool:
        """Azure takes the model from the path; others want it in the body."""
        return "/deployments/" not in self._url

    def _model_name(self) -> str:
        config = self._entity.config
        if isinstance(config, OpenAIConfig) and config.api_type != "openai":
            return deployment_of(config, self._entity)
        return self._entity.model

    def _credential(self) -> tuple[str, Secret | None]:
        """The header that carries the key, and the key."""
        return _credential(self._entity.config)

    def prepare(self) -> None:
        if not self._headers:
            self._headers = self._credentials()

    def token_request(self) -> HttpRequest | None:
        entra = self._entra
        if entra is None:
            return None
        return entra_request(entra, self._client_secret)

    def take_token(self, response: HttpResponse) -> float:
        token, valid_s = token_of(response, self._redact)
        self._secrets = (self._client_secret, token)
        self._headers = [*(h for h in self._headers if h[0] != "authorization"), ("authorization", f"Bearer {token}")]
        return valid_s

    def take_cloud_token(self, grant: CloudToken) -> None:
        self._secrets = (grant.token,)
        self._headers = [("content-type", "application/json"), ("authorization", f"Bearer {grant.token}")]

    def decoder(self, request: Request, response: HttpResponse) -> StreamDecoder:
        return self._stream(request, response) if is_stream(response) else WholeBody(self, request, response)

    def _stream(self, request: Request, response: HttpResponse) -> StreamDecoder:
        """Reads an answer that comes as events."""
        return OpenAIStream(self, request, response)

    def encode(self, request: Request, *, stream: bool = False) -> HttpRequest:
        body = request.body
        if stream:
            body = {**body, "stream": True}
            if self._no_stream_options:
                body.pop("stream_options", None)
            else:
                body["stream_options"] = {"include_usage": True}
        elif self._says_no_stream and request.task != "llm/v1/embeddings":
            body = {**body, "stream": False}
        if self._model is not None:
            body = {"model": self._model, **body}
        if self._max_completion_tokens and "max_tokens" in body:
            body = dict(body)
            body["max_completion_tokens"] = body.pop("max_tokens")
        return HttpRequest(self._url, self._headers, orjson.dumps(body))

    def decode(self, request: Request, response: HttpResponse) -> Answer:
        if response.status != 200:
            raise self.error(response)
        if is_events(response.body) and request.task != "llm/v1/embeddings":
            return read_events(self._stream(request, response), response)
        try:
            data = orjson.loads(response.body)
        except ValueError:  # NaN, a byte order mark, half a character: what can be read of it is the answer
            data = self._json(response)
            response = response._replace(body=orjson.dumps(data))
        if self._is_error(data):
            raise self.error(response)
        return self.answer(request, data, response)

    def _is_error(self, data: Any) -> bool:
        """Whether the body of a 200 is an error all the same."""
        return is_error(data)

    def answer(self, request: Request, data: Any, response: HttpResponse) -> Answer:
        """The answer that a parsed body holds. Raises ProviderError where it is not usable."""
        raw = self._recorded(str(response.body, "utf-8", "replace"))
        try:
            if request.task == "llm/v1/embeddings":
                return self._embeddings(request, data, raw)
            return self._completion(request, data, raw)
        except (KeyError, TypeError, IndexError, AttributeError, struct.error, ValueError, OverflowError):
            words = shorten(self._redact(raw)[:300])
            error = unusable(
                f"the answer is JSON, but not of the form that {_PATHS[request.task]} promises: {words}",
                response,
                body=self._redact(raw),
                once=True,
            )
            error.usage = stated_usage(data)  # it is billed all the same
            raise error from None

    def _completion(self, request: Request, data: dict[str, Any], raw: str) -> Answer:
        choice = data["choices"][0]
        if choice.get("error"):
            raise self._error_of_choice(choice["error"], data, raw)
        reason, calls, thoughts, other = choice.get("finish_reason"), None, "", False
        if request.task == "llm/v1/chat":
            message = choice["message"]
            text, thoughts = spoken(message.get("content"))
            refusal = message.get("refusal")
            calls = message.get("tool_calls") or message.get("function_call")
            other = bool(message.get("audio") or message.get("images"))
            if self._says_thoughts and text is not None:
                text, before = without_thoughts(text)
                thoughts += before
            if text != message.get("content"):
                message["content"] = text
                if thoughts:
                    message.setdefault("reasoning_content", thoughts)
                raw = self._recorded(orjson.dumps(data).decode())
            thoughts = thoughts or str(message.get("reasoning_content") or message.get("reasoning") or "")
        else:
            text, refusal = choice["text"], None
            if text is not None and not isinstance(text, str):
                raise TypeError("a completion is text")
        usage = known_or_estimated(
            stated_usage(data), request, len(text or "") + len(thoughts) + (len(orjson.dumps(calls)) if calls else 0)
        )
        end = end_of("openai", reason)
        if refusal:
            words = f"the model refused: {shorten(self._redact(str(refusal)))}"
            raise ProviderError(words, kind="content_filter", status=400, body=raw, usage=usage)
        check_end(end, reason, raw=raw, usage=usage)
        if not calls and not other:
            check_said(text, end, request.body, reasoned=bool(thoughts), raw=raw, usage=usage)
            text = text or ""
        finish_reason = reason if isinstance(reason, str) else None
        return Answer(text, usage, str(data.get("model") or self._entity.model), finish_reason, raw)

    def _error_of_choice(self, reported: Any, data: dict[str, Any], raw: str) -> ProviderError:
        """A router's error in place of the rest of an answer, or of all of it."""
        body = orjson.dumps({"error": reported})
        error = self.error(HttpResponse(200, lambda name: None, body))
        error.body, error.usage = raw, stated_usage(data)
        return error

    def _embeddings(self, request: Request, data: dict[str, Any], raw: str) -> Answer:
        items = data["data"]
        expected = len(request.body["input"])
        vectors: list[Any] = [None] * expected
        for item in items:
            index = item["index"]
            if type(index) is not int or index < 0:  # -1 would be the last one
                raise ValueError("not the number of an input")
            vectors[index] = vector(item["embedding"])
        if None in vectors or len(items) != expected:
            raise ValueError("not one vector per input")
        usage = known_or_estimated(stated_usage(data), request, 0)
        return Answer(vectors, usage, str(data.get("model") or self._entity.model), None, raw)

    def error(self, response: HttpResponse) -> ProviderError:
        """What a response that is an error means."""
        status, kind = response.status, kind_of_status(response.status)
        body = self._body(response)
        try:
            error = read_json(response.body)
            error = error.get("error", error) if isinstance(error, dict) else {}
        except ValueError:
            error = {}
        if isinstance(error, str):
            error = {"message": error}
        if not isinstance(error, dict):
            error = {}
        inner = error.get("innererror")
        codes = (error.get("code"), inner.get("code") if isinstance(inner, dict) else None, error.get("type"))
        for code in codes:
            if isinstance(code, str) and code in _KIND_OF_CODE:
                kind = _KIND_OF_CODE[code]
                break
            if status == 200 and type(code) is int and 400 <= code < 600:
                status, kind = code, kind_of_status(code)
                break
        reported = str(error.get("message") or error.get("detail") or "")
        words = f"{reported} {error.get('type') or ''}"
        if kind in _UNCLEAR and status in (*TOO_LONG_STATUSES, 200) and is_too_long(words):
            kind = "context_length"
        if status == 200:  # an error in a 200 is as bad as the status it should have had
            status = _STATUS_OF_KIND.get(kind, 502)
            kind = kind if kind != "bad_request" else "bad_answer"
        if 300 <= status < 400:
            message = f"HTTP {status}: the provider redirects, and a redirect is never followed with a credential"
        else:
            message = shorten(self._redact(str(error.get("message") or error.get("detail") or ""))) or error_from_body(
                status, body
            )
        if status == 400 and error.get("param") == "stream_options":
            self._no_stream_options, kind = True, "adapted"
        unsupported = error.get("code") == "unsupported_parameter" and error.get("param") == "max_tokens"
        if status == 400 and (unsupported or _USE_OTHER_NAME.search(reported)):
            # Also where it was learnt a moment ago: many requests were in flight when the first one taught it.
            self._max_completion_tokens = True
            kind = "adapted"
        return refusal(
            message, kind=kind, status=status, response=response, body=body, words=f"{error.get('code')} {words}"
        )

    def _credentials(self) -> list[tuple[str, str]]:
        config = self._entity.config
        headers = [("content-type", "application/json")]
        name, secret = self._credential()
        if secret is not None:
            key = secret.reveal()
            self._secrets = (key,)
            bearer = name.lower() == "authorization"
            headers.append((name, f"Bearer {key}" if bearer else key))
        if self._entra is not None:
            self._client_secret = self._entra.client_secret.reveal()
            self._secrets = (self._client_secret,)
        if isinstance(config, OpenAIConfig) and config.organization:
            headers.append(("openai-organization", config.organization))
        return headers


class CustomAdapter(OpenAIAdapter):
    """Any server that speaks OpenAI's API; such have parameters of their own."""

    abilities = Abilities(own=None)
    _says_thoughts = _says_no_stream = True


def _url(entity: ServedEntity) -> str:
    config, path = entity.config, _PATHS[entity.task]
    if isinstance(config, CustomConfig):
        parts = urlsplit(config.url)
        if parts.path.rstrip("/").endswith(path):
            return config.url
        return parts._replace(path=parts.path.rstrip("/") + path).geturl()
    assert isinstance(config, OpenAIConfig)
    if config.api_type == "openai":
        return (config.api_base or "https://api.openai.com/v1").rstrip("/") + path
    return azure_url(config, entity, path)


def _credential(config: object) -> tuple[str, Secret | None]:
    if isinstance(config, CustomConfig):
        if config.header is not None:
            return config.header
        return "authorization", config.bearer
    assert isinstance(config, OpenAIConfig)
    return ("api-key" if config.api_type == "azure" else "authorization"), config.api_key


def vector(embedding: Any) -> list[float]:
    """An embedding as numbers, or as base64 of them. Raises TypeError, ValueError or struct.error for anything else."""
    if isinstance(embedding, str):  # encoding_format base64: little-endian 32-bit floats
        raw = base64.b64decode(embedding, validate=True)
        numbers = list(struct.unpack(f"<{len(raw) // 4}f", raw))
        if not all(map(math.isfinite, numbers)):
            raise ValueError("an embedding that is no vector")
        return numbers
    if not isinstance(embedding, list) or not embedding or not set(map(type, embedding)) <= _NUMBERS:
        raise TypeError("an embedding is a list of numbers")
    return embedding
