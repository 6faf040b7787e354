"""One file a wire format, pure: Request -> HTTP request, HTTP response -> Answer or ProviderError."""

from __future__ import annotations

from collections.abc import Callable

from aiq.config.endpoint import ServedEntity
from aiq.providers.base import Adapter, HttpRequest, HttpResponse
from aiq.providers.model_server import ModelServerAdapter
from aiq.providers.openai import OpenAIAdapter

_ADAPTERS: dict[str, Callable[[ServedEntity], Adapter]] = {
    "openai": OpenAIAdapter,
    "custom": OpenAIAdapter,
    "model-server": ModelServerAdapter,
}


def adapter_for(entity: ServedEntity) -> Adapter:
    """The adapter that speaks the entity's wire format."""
    return _ADAPTERS[entity.provider](entity)


__all__ = ["Adapter", "HttpRequest", "HttpResponse", "adapter_for"]
