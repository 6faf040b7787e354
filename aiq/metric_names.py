"""What Prometheus counts calls by, in a running server and from the tables: bounds and names are the same."""

from __future__ import annotations

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""Upper bounds of a histogram's buckets, in seconds, as OpenTelemetry's GenAI conventions have them."""
TOKENS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached_tokens": "cache_read_input_tokens",
    "cache_write_tokens": "cache_write_input_tokens",
    "reasoning_tokens": "reasoning_tokens",
}
"""Columns of `system.aiq.calls`, and what the conventions call them."""
