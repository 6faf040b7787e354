"""The Gemini API, with an API key; Databricks calls it `palm`, after the models that were there before.

Must never know sockets or policy. Source: the Gemini API reference (`v1beta`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from aiq.config.connections import KeyConfig
from aiq.config.endpoint import ServedEntity
from aiq.providers.abilities import Abilities
from aiq.providers.google import embeddings as gemini_embeddings
from aiq.providers.google import request as gemini_request
from aiq.providers.google.gemini import GeminiAdapter

API_BASE = "https://generativelanguage.googleapis.com"


class PalmAdapter(GeminiAdapter):
    """Speaks to one served entity. The key goes into a header, never into a URL, which others log."""

    abilities = Abilities(
        {"llm/v1/chat": gemini_request.PARAMETERS, "llm/v1/embeddings": frozenset({"dimensions"})},
        own=gemini_request.OWN | gemini_embeddings.OWN,
        most_inputs=lambda model: gemini_embeddings.MAX_BATCH,
        takes_link=gemini_request.takes_link,
    )

    def __init__(self, entity: ServedEntity, clock: Callable[[], float]) -> None:
        super().__init__(entity, clock)
        assert isinstance(entity.config, KeyConfig)
        self._key = entity.config.api_key
        name = entity.model if "/" in entity.model else f"models/{entity.model}"  # others are `tunedModels/...`
        self._resource = name
        self.model = name.removeprefix("models/")
        url = f"{entity.config.api_base or API_BASE}/v1beta/{quote(name)}"
        embeds = entity.task == "llm/v1/embeddings"
        self.address = f"{url}:batchEmbedContents" if embeds else f"{url}:generateContent"
        self._stream_url = f"{url}:streamGenerateContent?alt=sse"
        self._headers: list[tuple[str, str]] = []

    def prepare(self) -> None:
        if not self._headers:
            key = self._key.reveal()
            self._secrets = (key,)
            self._headers = [("content-type", "application/json"), ("x-goog-api-key", key)]

    def _embed(self, body: dict[str, Any]) -> dict[str, Any]:
        return gemini_embeddings.batch(body, self._resource, self._refuse)
