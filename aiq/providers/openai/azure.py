"""What is Azure's own around OpenAI's wire format: where a deployment is, and how Microsoft Entra is asked for a token.

Pure; must never know a socket or a clock. Source: Microsoft's "Azure OpenAI REST API reference", and "OAuth 2.0 client
credentials flow on the Microsoft identity platform".
"""

from __future__ import annotations

from urllib.parse import quote, urlencode, urlsplit

from aiq.config.endpoint import EntraConfig, OpenAIConfig, ServedEntity
from aiq.providers.base import HttpRequest

V1 = "/openai/v1"


def azure_url(config: OpenAIConfig, entity: ServedEntity, path: str) -> str:
    """Where a deployment answers: by its own path, or by the one without versions where `openai_api_base` ends so.

    The Responses API is only there.
    """
    base = (config.api_base or "").rstrip("/")
    if base.endswith(V1):
        return base + path
    if config.responses:
        return base + V1 + path
    deployment, version = quote(deployment_of(config, entity), safe=""), quote(config.api_version or "", safe="")
    return f"{base}/openai/deployments/{deployment}{path}?api-version={version}"


def deployment_of(config: OpenAIConfig, entity: ServedEntity) -> str:
    """The deployment's name, which stands for the model."""
    return config.deployment_name or entity.model


def entra_request(config: EntraConfig, secret: str) -> HttpRequest:
    """Asks for a token that Azure OpenAI takes. `secret` is the application's."""
    fields = {
        "client_id": config.client_id,
        "client_secret": secret,
        "scope": _scope(config.authority),
        "grant_type": "client_credentials",
    }
    headers = [("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json")]
    return HttpRequest(
        f"{config.authority}/{quote(config.tenant_id, safe='')}/oauth2/v2.0/token", headers, urlencode(fields).encode()
    )


def _scope(authority: str) -> str:
    """What a token is for: Azure OpenAI in the cloud that the authority belongs to."""
    top = {"us": "us", "cn": "cn"}.get((urlsplit(authority).hostname or "").rpartition(".")[2], "com")
    return f"https://cognitiveservices.azure.{top}/.default"
