"""Gemini on Vertex AI, with the access tokens of a service account. Must never know sockets or policy.

Source: the Vertex AI API reference (`v1`): the wire form is the Gemini API's, addresses and credentials are Google
Cloud's. Which embedding model is served by which method: Vertex AI's text embeddings API.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from aiq.config.endpoint import ServedEntity, VertexConfig
from aiq.errors import UnsupportedConfigError
from aiq.providers.abilities import Abilities
from aiq.providers.base import HttpRequest, HttpResponse
from aiq.providers.google import embeddings as gemini_embeddings
from aiq.providers.google import request as gemini_request
from aiq.providers.google.gemini import GeminiAdapter
from aiq.providers.google.service_account import ServiceAccount
from aiq.providers.wire.oauth import granted_token

_OTHERS = re.compile(r"(?:^|/)(?:anthropic/|mistralai/|meta/|claude-|mistral-|llama-)")
"""Models of other makers."""
_CONTINENTS = ("us", "eu")
"""Regions that are several, which have hosts of another form."""


class VertexAdapter(GeminiAdapter):
    """Speaks to one served entity."""

    abilities = Abilities(
        {"llm/v1/chat": gemini_request.PARAMETERS, "llm/v1/embeddings": frozenset({"dimensions"})},
        own=gemini_request.OWN | gemini_embeddings.OWN,
        most_inputs=lambda model: 1 if _is_gemini(model) else gemini_embeddings.MAX_INSTANCES,
        takes_link=gemini_request.takes_link,
        most_characters=gemini_embeddings.MAX_CHARACTERS,
    )

    def __init__(self, entity: ServedEntity, clock: Callable[[], float]) -> None:
        super().__init__(entity, clock)
        assert isinstance(entity.config, VertexConfig)
        if _OTHERS.search(entity.model):
            raise UnsupportedConfigError(
                f"served entity '{entity.name}': model '{entity.model}' has a wire form of its own on Vertex AI; "
                "provider google-cloud-vertex-ai speaks to Google's models only. Use the provider of its maker."
            )
        self._config = entity.config
        url = _url(entity.config, entity.model)
        method = _embedding_method(entity.model) if entity.task == "llm/v1/embeddings" else "generateContent"
        self._predicts = method == "predict"
        self.address = f"{url}:{method}"
        self._stream_url = f"{url}:streamGenerateContent?alt=sse"
        self._headers: list[tuple[str, str]] = []
        self._account: ServiceAccount | None = None

    def prepare(self) -> None:
        if self._account is None:
            secret = self._config.private_key
            place = f"served entity '{self._entity.name}' ({secret.source})"
            self._account = ServiceAccount(secret.reveal(), place=place, api_base=self._config.api_base)

    def token_request(self) -> HttpRequest | None:
        assert self._account is not None, "`prepare` came before"
        assertion = self._account.assertion(self._clock())
        self._secrets = (assertion, *self._secrets[1:])
        return self._account.token_request(assertion)

    def take_token(self, response: HttpResponse) -> float:
        token, valid_s = granted_token(response, self._redact)
        self._secrets = (*self._secrets[:1], token)
        self._headers = [("content-type", "application/json"), ("authorization", f"Bearer {token}")]
        return valid_s

    def _embed(self, body: dict[str, Any]) -> dict[str, Any]:
        form = gemini_embeddings.instances if self._predicts else gemini_embeddings.single
        return form(body, self._refuse)


def _url(config: VertexConfig, model: str) -> str:
    base = config.api_base
    if base is None:
        if config.region == "global":
            base = "https://aiplatform.googleapis.com"
        elif config.region in _CONTINENTS:
            base = f"https://aiplatform.{config.region}.rep.googleapis.com"
        else:
            base = f"https://{config.region}-aiplatform.googleapis.com"
    place = f"projects/{quote(config.project_id)}/locations/{config.region}"
    # A tuned model is an endpoint of the project; another publisher's is named with it.
    name = model if "/" in model else f"publishers/google/models/{model}"
    return f"{base}/v1/{quote(name)}" if name.startswith("projects/") else f"{base}/v1/{place}/{quote(name)}"


def _is_gemini(model: str) -> bool:
    return "gemini-embedding" in model


def _embedding_method(model: str) -> str:
    """`predict`, but for Gemini's embedding models after the first, which have no such method."""
    return "embedContent" if _is_gemini(model) and "gemini-embedding-001" not in model else "predict"
