"""Which request it was, in a few words."""

from __future__ import annotations

from typing import Any

import pytest

from aiq.batch.advice import advice, beginning
from aiq.errors import GuardrailBlocked, ProviderError

LONG = "word " * 30


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Sum\n up: a"}]},
            "Sum up: a",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "What?"}]}]},
            "What?",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, ""),
        ({"input": ["first", "second"]}, "first"),
        ({"prompt": LONG}, ("word " * 12).strip() + " ..."),
        ({"inputs": [7]}, "7"),
        ({"inputs": [{"a": 1}]}, '{"a":1}'),
        ({}, ""),
    ],
)
def test_a_request_is_named_by_how_it_begins(body: dict[str, Any], words: str) -> None:
    assert beginning(body) == words


def test_what_a_guardrail_keeps_back_is_not_shown() -> None:
    blocked = GuardrailBlocked("no", endpoint="chat", side="input", findings=("pii:EMAIL",), message="{}", report={})
    blocked.request = "My address is ann@example.com"
    assert "ann@example.com" not in advice(blocked, is_kept=True)


def test_what_is_not_kept_is_not_promised() -> None:
    failed = ProviderError("no", kind="bad_request", status=400)
    assert "pays only for the rest" in advice(failed, is_kept=True)
    assert "pays only for the rest" not in advice(failed, is_kept=False)
