"""Models of other makers on Vertex AI, each in its maker's own form: Claude, Mistral, and all that speak OpenAI's.

Source: Google Cloud's "Use partner models" (`rawPredict`, `streamRawPredict`) and "Vertex AI Chat Completions API";
the `anthropic` SDK for Vertex. Must never know sockets or policy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import orjson

from aiq.config.connections import Secret, VertexConfig
from aiq.config.endpoint import ServedEntity
from aiq.errors import ProviderError, UnsupportedConfigError
from aiq.providers.abilities import Abilities
from aiq.providers.anthropic.adapter import AnthropicAdapter
from aiq.providers.base import HttpRequest, HttpResponse
from aiq.providers.google.access import VertexAccess, maker_of, vertex_root
from aiq.providers.google.errors import error_of, is_googles
from aiq.providers.openai.adapter import OpenAIAdapter
from aiq.request import Request

CLAUDE_VERSION = "vertex-2023-10-16"
_MISTRAL_NAMES = {"seed": "random_seed", "max_completion_tokens": "max_tokens"}
"""OpenAI's names, and those that Mistral's API has for them."""


class VertexClaudeAdapter(VertexAccess, AnthropicAdapter):
    """Claude: a message without the model's name, at `rawPredict`."""

    def __init__(self, entity: ServedEntity, clock: Callable[[], float]) -> None:
        super().__init__(entity, clock)
        self._stream_url = _raw_predict(entity, "anthropic", stream=True)
        _chat_only(entity)

    def _address(self) -> str:
        return _raw_predict(self._entity, "anthropic")

    def _sent(self, body: dict[str, Any], stream: bool) -> HttpRequest:
        body = {"anthropic_version": CLAUDE_VERSION, **body}
        del body["model"]
        return HttpRequest(self._stream_url if stream else self.address, self._headers, orjson.dumps(body))

    def error(self, response: HttpResponse) -> ProviderError:
        """Anthropic's words, or those of Google before it."""
        return error_of(response, self._redact) if is_googles(response.body) else super().error(response)


class VertexOpenAIAdapter(VertexAccess, OpenAIAdapter):
    """Llama and the other open models: OpenAI's form for all of a region's models, named with their makers."""

    abilities = Abilities(own=None)
    _says_thoughts = True

    def __init__(self, entity: ServedEntity, clock: Callable[[], float]) -> None:
        super().__init__(entity, clock)
        _chat_only(entity)

    def _address(self) -> str:
        return f"{vertex_root(self._vertex)}/endpoints/openapi/chat/completions"

    def _model_name(self) -> str:
        return f"{maker_of(self._entity)}/{_bare(self._entity)}"

    def _credential(self) -> tuple[str, Secret | None]:
        return "authorization", None

    def error(self, response: HttpResponse) -> ProviderError:
        return error_of(response, self._redact) if is_googles(response.body) else super().error(response)


class VertexMistralAdapter(VertexOpenAIAdapter):
    """Mistral: its own API, which is OpenAI's but for some names, at `rawPredict`."""

    def __init__(self, entity: ServedEntity, clock: Callable[[], float]) -> None:
        super().__init__(entity, clock)
        self._no_stream_options = True  # it always tells the usage, and refuses to be asked

    def _address(self) -> str:
        return _raw_predict(self._entity, "mistralai")

    def _model_name(self) -> str:
        return _bare(self._entity).partition("@")[0]

    def encode(self, request: Request, *, stream: bool = False) -> HttpRequest:
        body = {_MISTRAL_NAMES.get(name, name): value for name, value in request.body.items()}
        for message in body["messages"]:
            content = message.get("content")
            for part in content if isinstance(content, list) else ():
                if part.get("type") not in ("text", "image_url"):
                    self._refuse(f"takes no content of type '{part.get('type')}' for a model of Mistral")
        sent = super().encode(request._replace(body=body), stream=stream)
        return sent._replace(url=_raw_predict(self._entity, "mistralai", stream=True)) if stream else sent


def _raw_predict(entity: ServedEntity, publisher: str, *, stream: bool = False) -> str:
    assert isinstance(entity.config, VertexConfig)
    model = f"publishers/{publisher}/models/{quote(_bare(entity), safe='@')}"
    return f"{vertex_root(entity.config)}/{model}:{'streamRawPredict' if stream else 'rawPredict'}"


def _bare(entity: ServedEntity) -> str:
    """The model's name without its maker."""
    return entity.model.rpartition("/")[2]


def _chat_only(entity: ServedEntity) -> None:
    if entity.task != "llm/v1/chat":
        raise UnsupportedConfigError(
            f"served entity '{entity.name}': '{entity.model}' has chat only on Vertex AI; embeddings are Google's own "
            "models' (gemini-embedding-001, text-embedding-005)"
        )
