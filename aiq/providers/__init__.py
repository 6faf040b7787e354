"""One file a wire format, pure: Request -> HTTP request, HTTP response -> Answer or ProviderError."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol

from aiq.config.connections import OpenAIConfig
from aiq.config.endpoint import Provider, ServedEntity
from aiq.errors import UnsupportedConfigError
from aiq.providers.abilities import Abilities
from aiq.providers.ai21.adapter import AI21Adapter
from aiq.providers.anthropic.adapter import AnthropicAdapter
from aiq.providers.base import Adapter, HttpRequest, HttpResponse
from aiq.providers.bedrock.adapter import BedrockAdapter
from aiq.providers.cohere.adapter import CohereAdapter
from aiq.providers.databricks.adapter import DatabricksAdapter
from aiq.providers.google.access import maker_of
from aiq.providers.google.palm import PalmAdapter
from aiq.providers.google.partners import VertexClaudeAdapter, VertexMistralAdapter, VertexOpenAIAdapter
from aiq.providers.google.vertex import VertexAdapter
from aiq.providers.mlflow.agents import AgentAdapter
from aiq.providers.mlflow.model_server import ModelServerAdapter
from aiq.providers.openai.adapter import CustomAdapter, OpenAIAdapter
from aiq.providers.openai.responses import ResponsesAdapter


class _AdapterType(Protocol):
    abilities: Abilities

    def __call__(self, entity: ServedEntity, clock: Callable[[], float]) -> Adapter: ...


_ADAPTERS: dict[Provider, _AdapterType] = {
    "openai": OpenAIAdapter,
    "custom": CustomAdapter,
    "palm": PalmAdapter,
    "google-cloud-vertex-ai": VertexAdapter,
    "anthropic": AnthropicAdapter,
    "databricks-model-serving": DatabricksAdapter,
    "amazon-bedrock": BedrockAdapter,
    "cohere": CohereAdapter,
    "ai21labs": AI21Adapter,
    "model-server": ModelServerAdapter,
}


_ON_VERTEX: dict[str, _AdapterType] = {
    "google": VertexAdapter,
    "anthropic": VertexClaudeAdapter,
    "mistralai": VertexMistralAdapter,
}
"""By maker; the models of all others speak OpenAI's form there."""


def adapter_for(entity: ServedEntity, clock: Callable[[], float] = time.time) -> Adapter:
    """The adapter that speaks the entity's wire format. `clock` gives seconds since 1970, for signatures."""
    return _adapter(entity)(entity, clock)


def abilities_of(entity: ServedEntity) -> Abilities:
    """What the entity's provider can be asked for."""
    return _adapter(entity).abilities


def inputs_per_call(entities: Iterable[ServedEntity], wanted: int) -> int:
    """How many texts an embeddings call to any of the entities may carry, where `wanted` is what the settings say."""
    for entity in entities:
        adapter = _ADAPTERS.get(entity.provider)
        if adapter is not None and adapter.abilities.most_inputs is not None:
            wanted = min(wanted, adapter.abilities.most_inputs(entity.model))
    return wanted


def takes_link(entities: Iterable[ServedEntity]) -> Callable[[str], bool] | None:
    """Whether all of the entities take a link to an image as it is; None where they take any."""
    asked = [ability for entity in entities if (ability := abilities_of(entity).takes_link) is not None]
    return (lambda url: all(ability(url) for ability in asked)) if asked else None


def characters_per_call(entities: Iterable[ServedEntity], wanted: int) -> int:
    """How many characters of text an embeddings call to any of the entities may carry, and `wanted` at most."""
    for entity in entities:
        adapter = _ADAPTERS.get(entity.provider)
        if adapter is not None and adapter.abilities.most_characters is not None:
            wanted = min(wanted, adapter.abilities.most_characters)
    return wanted


def _adapter(entity: ServedEntity) -> _AdapterType:
    if entity.task in ("agent/v1/responses", "agent/v2/chat"):
        return AgentAdapter
    if isinstance(entity.config, OpenAIConfig) and entity.config.responses and entity.task == "llm/v1/chat":
        return ResponsesAdapter
    if entity.provider == "google-cloud-vertex-ai":
        return _ON_VERTEX.get(maker_of(entity), VertexOpenAIAdapter)
    found = _ADAPTERS.get(entity.provider)
    if found is None:
        raise UnsupportedConfigError(
            f"provider {entity.provider} of served entity '{entity.name}' is not supported yet. Supported: "
            f"{', '.join(_ADAPTERS)}"
        )
    return found


__all__ = [
    "Abilities",
    "Adapter",
    "HttpRequest",
    "HttpResponse",
    "abilities_of",
    "adapter_for",
    "characters_per_call",
    "inputs_per_call",
    "takes_link",
]
