"""Who publishes what a model costs and takes: the providers' names in genai-prices. Knows no price."""

from __future__ import annotations

from aiq.config.connections import OpenAIConfig
from aiq.config.endpoint import ServedEntity

_PUBLISHERS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "cohere": "cohere",
    "amazon-bedrock": "aws",
    "palm": "google",
    "google-cloud-vertex-ai": "google",
    "databricks-model-serving": "databricks",
}
"""The names of providers in genai-prices, where it has their prices. A private server has none there."""


def publisher_of(entity: ServedEntity) -> str | None:
    """The name in genai-prices of the publisher of the model's prices and limits; None where there is none."""
    if isinstance(entity.config, OpenAIConfig) and entity.config.api_type != "openai":
        return "azure"
    return _PUBLISHERS.get(entity.provider)
