"""What tests of the Gemini API share: an adapter, what it sends, and OpenAI's forms of what Gemini adds."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from aiq.config.connections import KeyConfig, Secret
from aiq.errors import ProviderError
from aiq.providers import Adapter, adapter_for

KEY = "AIza-very-secret-value"
CONFIG = KeyConfig(Secret(KEY, "s"))
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def entity(make: Any, model: str = "gemini-2.5-flash", **changes: Any) -> Any:
    """A served entity of the Gemini API."""
    return make.entity(**{"provider": "palm", "config": CONFIG, "model": model, **changes})


def opened(make: Any, model: str = "gemini-2.5-flash", **changes: Any) -> Adapter:
    """Its adapter."""
    adapter = adapter_for(entity(make, model, **changes), lambda: 1_700_000_000.9)
    adapter.prepare()
    return adapter


def sent(make: Any, body: dict[str, Any], model: str = "gemini-2.5-flash", **changes: Any) -> Any:
    """The body that a request of OpenAI's becomes."""
    body = body if "messages" in body or "input" in body else {"messages": [{"role": "user", "content": "Hi"}], **body}
    request = make.request(body=body, task=changes.get("task", "llm/v1/chat"))
    return orjson.loads(opened(make, model, **changes).encode(request).body)


def refusal(make: Any, body: dict[str, Any], model: str = "gemini-2.5-flash", **changes: Any) -> str:
    """Why a request is refused before it is sent."""
    with pytest.raises(ProviderError) as caught:
        sent(make, body, model, **changes)
    assert (caught.value.kind, caught.value.status, caught.value.entity) == ("bad_request", 400, "main")
    assert caught.value.reason.startswith("provider palm ")
    return str(caught.value.reason)


def call(identity: str, name: str = "f", arguments: str = '{"a":1}', **changes: Any) -> dict[str, Any]:
    """A tool call as OpenAI writes it."""
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}, **changes}


def signed(signature: str) -> dict[str, Any]:
    """Where a thought's signature stands in OpenAI's form."""
    return {"extra_content": {"google": {"thought_signature": signature}}}
