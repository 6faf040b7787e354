"""Tokens that stand in for the usage that a provider did not send. Pure."""

from __future__ import annotations

from aiq.request import Request, Usage, text_characters


def estimate_tokens(characters: int) -> int:
    """Tokens of a text of which the provider sent no count. Source: Databricks usage tracking, (length + 1) / 4."""
    return (characters + 1) // 4


def estimate_usage(request: Request, answer_characters: int) -> Usage:
    """A stand-in for the usage that a provider did not send, or sent absurdly."""
    characters = text_characters(request.body)
    tokens_out = estimate_tokens(answer_characters) or (answer_characters > 0)  # no answer costs nothing
    return Usage(estimate_tokens(characters), int(tokens_out), estimated=True)
