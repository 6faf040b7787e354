"""What is Azure's own around OpenAI's wire format: where a deployment is, and how Microsoft Entra is asked for a token.

Pure; must never know a socket or a clock. Source: Microsoft's "Azure OpenAI REST API reference", and "OAuth 2.0 client
credentials flow on the Microsoft identity platform".
"""

from __future__ import annotations

from urllib.parse import quote, urlencode, urlsplit

from aiq.config.connections import EntraConfig, OpenAIConfig
from aiq.config.endpoint import ServedEntity
from aiq.providers.base import HttpRequest

V1 = "/openai/v1"
FOUNDRY = "/models"
"""So an address of Azure AI Foundry ends: one for all models of a resource, whoever made them."""


def azure_url(config: OpenAIConfig, entity: ServedEntity, path: str) -> str:
    """Where a deployment answers: by its own path, or by one for all where `openai_api_base` ends with `/openai/v1` or
    with Foundry's `/models`.

    The Responses API is only there.
    """
    base, version = (config.api_base or "").rstrip("/"), quote(config.api_version or "", safe="")
    if base.endswith(V1):
        return base + path
    if base.endswith(FOUNDRY):
        return f"{base}{path}?api-version={version}"
    if config.responses:
        return base + V1 + path
    deployment = quote(deployment_of(config, entity), safe="")
    return f"{base}/openai/deployments/{deployment}{path}?api-version={version}"


def deployment_of(config: OpenAIConfig, entity: ServedEntity) -> str:
    """The deployment's name, which stands for the model."""
    return config.deployment_name or entity.model


def entra_request(config: EntraConfig, secret: str) -> HttpRequest:
    """Asks for a token that Azure OpenAI takes. `secret` is the application's."""
    fields = {
        "client_id": config.client_id,
        "client_secret": secret,
        "scope": scope_of(config.authority),
        "grant_type": "client_credentials",
    }
    headers = [("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json")]
    return HttpRequest(
        f"{config.authority}/{quote(config.tenant_id, safe='')}/oauth2/v2.0/token", headers, urlencode(fields).encode()
    )


def scope_of(url: str) -> str:
    """What a token is for: Azure's models in the cloud that an authority or a resource belongs to."""
    top = {"us": "us", "cn": "cn"}.get((urlsplit(url).hostname or "").rpartition(".")[2], "com")
    return f"https://cognitiveservices.azure.{top}/.default"
