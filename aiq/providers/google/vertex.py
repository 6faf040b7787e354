"""Gemini on Vertex AI; models of other makers: `partners.py`. Must never know sockets or policy.

Source: the Vertex AI API reference (`v1`): the wire form is the Gemini API's, addresses and credentials are Google
Cloud's. Which embedding model is served by which method: Vertex AI's text embeddings API.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from aiq.config.connections import VertexConfig
from aiq.config.endpoint import ServedEntity
from aiq.providers.abilities import Abilities
from aiq.providers.google import embeddings as gemini_embeddings
from aiq.providers.google import request as gemini_request
from aiq.providers.google.access import VertexAccess, vertex_host, vertex_root
from aiq.providers.google.gemini import GeminiAdapter


class VertexAdapter(VertexAccess, GeminiAdapter):
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
        url = _url(self._vertex, entity.model)
        method = _embedding_method(entity.model) if entity.task == "llm/v1/embeddings" else "generateContent"
        self._predicts = method == "predict"
        self.address = f"{url}:{method}"
        self._stream_url = f"{url}:streamGenerateContent?alt=sse"
        self._headers: list[tuple[str, str]] = []

    def _embed(self, body: dict[str, Any]) -> dict[str, Any]:
        form = gemini_embeddings.instances if self._predicts else gemini_embeddings.single
        return form(body, self._refuse)


def _url(config: VertexConfig, model: str) -> str:
    # A tuned model is an endpoint of the project; another publisher's is named with it.
    name = model if "/" in model else f"publishers/google/models/{model}"
    root = f"{vertex_host(config)}/v1" if name.startswith("projects/") else vertex_root(config)
    return f"{root}/{quote(name)}"


def _is_gemini(model: str) -> bool:
    return "gemini-embedding" in model


def _embedding_method(model: str) -> str:
    """`predict`, but for Gemini's embedding models after the first, which have no such method."""
    return "embedContent" if _is_gemini(model) and "gemini-embedding-001" not in model else "predict"
