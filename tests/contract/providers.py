"""One served entity of every provider, in the words of an endpoint file, before a simulator.

What the matrix of providers and others go through.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.request import urlopen

from aiq.simulator.vendors.vertex import KEY_FILE
from tests.processes import PATIENCE_S

NOWHERE = "http://127.0.0.1"
"""Stands for a simulator where only the names of the cases are wanted."""


class Case(NamedTuple):
    """`entity` is a served entity for chat, `embeddings` one for embeddings; None where the provider has none.

    `server` stands in `conf/aiq.yml` instead, for a model server.
    """

    name: str
    entity: dict[str, Any]
    embeddings: dict[str, Any] | None = None
    server: dict[str, Any] | None = None
    structured: bool = True
    """Whether it can be asked for JSON of a schema."""
    tools: bool = True
    images: bool = True
    pdf: bool = True
    audio: bool = True
    forced: bool = True
    """Whether the model can be made to call a tool."""
    filters: bool = True
    """Whether it has a content filter of its own."""


def external(
    provider: str, model: str, section: dict[str, Any], *, task: str = "llm/v1/chat", own: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A served entity with an `external_model`."""
    names = {
        "openai": "openai_config",
        "custom": "custom_provider_config",
        "amazon-bedrock": "amazon_bedrock_config",
        "google-cloud-vertex-ai": "google_cloud_vertex_ai_config",
        "databricks-model-serving": "databricks_model_serving_config",
    }
    config = names.get(provider, f"{provider}_config")
    entity = {
        "name": "main",
        "external_model": {"name": model, "provider": provider, "task": task, config: section},
    }
    return {**entity, "aiq": own} if own else entity


def service_account(url: str) -> str:
    """The key file of a service account that the simulator knows; nothing where none is listening."""
    if url == NOWHERE:
        return "{}"
    with urlopen(url + KEY_FILE.decode(), timeout=PATIENCE_S) as response:
        found: str = response.read().decode()
        return found


def cases(url: str) -> list[Case]:
    """Every provider that a simulator at `url` speaks for."""
    openai = {"openai_api_base": f"{url}/v1", "openai_api_key_plaintext": "sk-good"}
    azure = {
        "openai_api_type": "azure",
        "openai_api_base": url,
        "openai_api_version": "2024-10-21",
        "openai_deployment_name": "gpt-4o-mini",
        "openai_api_key_plaintext": "az-good",
    }
    anthropic = {"anthropic_api_key_plaintext": "sk-ant-good"}
    aws = {
        "aws_region": "us-east-1",
        "bedrock_provider": "amazon",
        "aws_access_key_id_plaintext": "AKIDGOOD",
        "aws_secret_access_key_plaintext": "simulated",
    }
    cohere = {"cohere_api_key_plaintext": "co-good", "cohere_api_base": url}
    vertex = {"project_id": "p", "region": "us-central1", "private_key_plaintext": service_account(url)}
    gemini = {"palm_api_key_plaintext": "AIza-good"}
    databricks = {"databricks_workspace_url": url, "databricks_api_token_plaintext": "dapi-good"}
    custom = {"custom_provider_url": f"{url}/v1", "bearer_token_auth": {"token_plaintext": "sk-good"}}
    vectors = "llm/v1/embeddings"

    def both(provider: str, section: dict[str, Any], chat: str, embed: str, own: dict[str, Any] | None = None) -> Any:
        return (
            external(provider, chat, section, own=own),
            external(provider, embed, section, task=vectors, own=own),
        )

    agent = {"name": "main", "entity_name": "agent", "entity_version": "1"}
    return [
        Case("openai", *both("openai", openai, "gpt-4o-mini", "text-embedding-3-small")),
        Case("openai, Responses API", external("openai", "gpt-4o-mini", openai, own={"responses": True}), audio=False),
        Case("openai, Azure", *both("openai", azure, "gpt-4o-mini", "text-embedding-3-small")),
        Case(
            "openai, Azure AI Foundry",
            *both("openai", {**azure, "openai_api_base": f"{url}/models"}, "Llama-4", "embed-v-4-0"),
        ),
        Case("anthropic", external("anthropic", "claude-sonnet-4-5", anthropic, own={"api_base": url}), audio=False),
        Case(
            "amazon-bedrock",
            *both("amazon-bedrock", aws, "amazon.nova-lite-v1:0", "amazon.titan-embed-text-v2:0", {"api_base": url}),
        ),
        Case("palm", *both("palm", gemini, "gemini-2.5-flash", "gemini-embedding-001", {"api_base": url})),
        Case(
            "google-cloud-vertex-ai",
            *both("google-cloud-vertex-ai", vertex, "gemini-2.5-flash", "text-embedding-005", {"api_base": url}),
        ),
        *[
            Case(
                f"google-cloud-vertex-ai, {whose}",
                external("google-cloud-vertex-ai", model, vertex, own={"api_base": url}),
                pdf=pdf,
                audio=audio,
            )
            for whose, model, pdf, audio in (
                ("Claude", "claude-sonnet-4-5", True, False),
                ("Mistral", "mistral-small-2503", False, False),
                ("open models", "meta/llama-4-maverick-17b-128e-instruct-maas", True, True),
            )
        ],
        Case("cohere", *both("cohere", cohere, "command-a-03-2025", "embed-v4.0"), pdf=False, audio=False),
        Case(
            "ai21labs",
            external("ai21labs", "jamba-large", {"ai21labs_api_key_plaintext": "ai-good"}, own={"api_base": url}),
            images=False,
            pdf=False,
            audio=False,
            forced=False,
            filters=False,
        ),
        Case("databricks-model-serving", *both("databricks-model-serving", databricks, "chat", "gte")),
        Case("custom", *both("custom", custom, "llama", "nomic")),
        Case(
            "agent/v1/responses",
            agent,
            server={"url": f"{url}/agents/a/invocations", "token_plaintext": "dapi-good", "task": "agent/v1/responses"},
            audio=False,
            structured=False,
            tools=False,
        ),
        Case(
            "agent/v2/chat",
            agent,
            server={"url": f"{url}/agents/chat/invocations", "token_plaintext": "dapi-good", "task": "agent/v2/chat"},
            structured=False,
            tools=False,
        ),
    ]
