"""Names of OpenTelemetry's GenAI conventions, in two generations. Knows no SDK.

Which one is emitted the standard variable says: OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental is the newer,
without it stays what instrumentations have always emitted. Sources: semantic-conventions 1.36.0, and
semantic-conventions-genai at 066d4a7 and 024a4f9.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from aiq.metric_names import SECONDS

OPT_IN = "gen_ai_latest_experimental"
TOKEN_BOUNDS = tuple(4**exponent for exponent in range(14))
"""Upper bounds of a histogram's buckets, in tokens: 1, 4, 16 ... 67,108,864."""
PROVIDERS = {
    "amazon-bedrock": "aws.bedrock",
    "google-cloud-vertex-ai": "gcp.vertex_ai",
    "palm": "gcp.gemini",
}
"""Of the configuration, where the conventions call them otherwise."""
OPERATIONS = {"llm/v1/completions": "text_completion", "llm/v1/embeddings": "embeddings"}
"""By task; all others are a chat."""


class Called(NamedTuple):
    """What a call went to: the model that it named, and the server; a port of None: not known."""

    model: str
    host: str = ""
    port: int | None = None

    def attributes(self) -> dict[str, str | int]:
        """Of a span or a metric."""
        found: dict[str, str | int] = {"gen_ai.request.model": self.model}
        if self.host:
            found["server.address"] = self.host
        if self.port is not None:
            found["server.port"] = self.port
        return found


class Generation(NamedTuple):
    """What one generation of the conventions calls things."""

    schema_url: str
    provider: str
    duration: str
    duration_words: str
    first_chunk: str | None
    """Histogram of the time to the first part of a streamed answer."""
    counters: Mapping[str, str]
    """By the field of `Outcome`, counters of tokens."""
    histograms: Mapping[str, tuple[str, str | None]]
    """By the field of `Outcome`, histograms of tokens and what `gen_ai.token.type` is there."""
    cached: str
    cache_written: str
    reasoning: str

    @property
    def duration_bounds(self) -> tuple[float, ...]:
        """Of the histogram of durations, in seconds; the same in both."""
        return SECONDS


OLDER = Generation(
    schema_url="https://opentelemetry.io/schemas/1.36.0",
    provider="gen_ai.system",
    duration="gen_ai.client.operation.duration",
    duration_words="GenAI operation duration.",
    first_chunk=None,
    counters={},
    histograms={
        "input_tokens": ("gen_ai.client.token.usage", "input"),
        "output_tokens": ("gen_ai.client.token.usage", "output"),
    },
    cached="gen_ai.usage.cache_read.input_tokens",
    cache_written="gen_ai.usage.cache_creation.input_tokens",
    reasoning="gen_ai.usage.reasoning.output_tokens",
)
LATEST = Generation(
    schema_url="https://opentelemetry.io/schemas/1.44.0",
    provider="gen_ai.provider.name",
    duration="gen_ai.client.inference.duration",
    duration_words="Duration of an inference call.",
    first_chunk="gen_ai.client.inference.time_to_first_chunk",
    counters={
        "input_tokens": "gen_ai.client.inference.usage.input_tokens",
        "output_tokens": "gen_ai.client.inference.usage.output_tokens",
        "cached_tokens": "gen_ai.client.inference.usage.cache_read.input_tokens",
        "cache_write_tokens": "gen_ai.client.inference.usage.cache_write.input_tokens",
        "reasoning_tokens": "gen_ai.client.inference.usage.reasoning.output_tokens",
    },
    histograms={
        "input_tokens": ("gen_ai.client.inference.operation.input_tokens", None),
        "output_tokens": ("gen_ai.client.inference.operation.output_tokens", None),
    },
    cached="gen_ai.usage.cache_read.input_tokens",
    cache_written="gen_ai.usage.cache_write.input_tokens",
    reasoning="gen_ai.usage.reasoning.output_tokens",
)


def generation(opt_in: str) -> Generation:
    """The generation that a value of OTEL_SEMCONV_STABILITY_OPT_IN chooses."""
    return LATEST if OPT_IN in (word.strip().lower() for word in opt_in.split(",")) else OLDER
