"""Credentials that a cloud's own SDK finds on a machine or exchanges: metadata services, token files, assumed roles.

The SDKs open connections of their own and block, so a source is asked in a thread. Knows no wire format of a model.
"""

from __future__ import annotations

from collections.abc import Callable

from aiq.config.cloud import missing_extra
from aiq.config.connections import BedrockConfig, OpenAIConfig, VertexConfig
from aiq.config.endpoint import ServedEntity
from aiq.errors import SecretError
from aiq.providers.base import CloudToken
from aiq.providers.openai.azure import scope_of

Source = Callable[[], CloudToken]
"""Gives a credential, in any thread but the event loop's. Raises ProviderError."""


def open_source(entity: ServedEntity) -> Source | None:
    """Where an entity's credential comes from; None where its configuration holds it, or says how to ask for it.

    Raises SecretError where the SDK is not installed.
    """
    config = entity.config
    missing = missing_extra(config)
    if missing is not None:
        raise SecretError(f"served entity '{entity.name}' {missing}")
    if isinstance(config, BedrockConfig) and config.credentials is not None:
        from aiq.transport.credentials.aws import AwsSource

        return AwsSource(config, config.credentials)
    if isinstance(config, VertexConfig) and config.credentials is not None:
        from aiq.transport.credentials.google import GoogleSource

        return GoogleSource(config.credentials)
    if isinstance(config, OpenAIConfig) and config.credentials is not None:
        from aiq.transport.credentials.azure import AzureSource

        return AzureSource(config.credentials, scope_of(config.credentials.authority or config.api_base or ""))
    return None
