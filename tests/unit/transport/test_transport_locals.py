"""A traceback that shows locals shows no header: notebooks, test runners and error trackers print them."""

from __future__ import annotations

import asyncio
import traceback

import pytest

from aiq.config.connections import KeyConfig, OpenAIConfig, ProviderConfig, Secret
from aiq.config.endpoint import ServedEntity, Settings
from aiq.config.secrets import SecretStore
from aiq.errors import ProviderError, SecretError
from aiq.providers import adapter_for
from aiq.providers.base import HttpRequest
from aiq.request import Caller, Request
from aiq.transport import open_transport

SECRET = "sk-secret-of-the-endpoint-0123456789"
REQUEST = Request(
    "chat", "llm/v1/chat", {"messages": [{"role": "user", "content": "my prompt"}], "max_tokens": 5}, Caller("ann"), "s"
)
NOWHERE = "http://127.0.0.1:9"


def with_locals(error: BaseException) -> str:
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", ["pyreqwest", "httpx"])
@pytest.mark.parametrize(
    "config", [OpenAIConfig(Secret(SECRET, "s"), api_base=f"{NOWHERE}/v1"), KeyConfig(Secret(SECRET, "s"), NOWHERE)]
)
def test_the_locals_of_a_failed_request_show_no_secret(kind: str, config: ProviderConfig, streamed: bool) -> None:
    provider = "openai" if isinstance(config, OpenAIConfig) else "anthropic"
    entity = ServedEntity("id", "main", provider, "model", "llm/v1/chat", config)  # type: ignore[arg-type]
    adapter = adapter_for(entity, lambda: 0.0)
    adapter.prepare()

    async def ask() -> None:
        transport = open_transport(Settings(transport=kind))  # type: ignore[arg-type]
        try:
            sent = adapter.encode(REQUEST)
            await (transport.stream(sent, 5, 5) if streamed else transport.send(sent, 5))
        finally:
            await transport.close()

    with pytest.raises(ProviderError) as caught:
        asyncio.run(ask())
    shown = with_locals(caught.value)
    assert "HttpRequest('http://127.0.0.1:9" in shown
    assert SECRET not in shown


def test_a_request_shows_the_names_of_its_headers() -> None:
    shown = repr(HttpRequest("https://a.test/v1", [("authorization", f"Bearer {SECRET}")], b"my prompt"))
    assert shown == "HttpRequest('https://a.test/v1', headers: authorization; 9 bytes)"


def test_the_locals_of_a_value_that_is_refused_show_none(tmp_path) -> None:  # type: ignore[no-untyped-def]
    store = SecretStore(tmp_path, {"AIQ_SECRET_A_B": f"{SECRET}\n"})
    with pytest.raises(SecretError) as caught:
        store.reference("a", "b").reveal()
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in frames.stack if frame.filename.endswith("aiq/config/secrets.py")]
    assert ours and not any(SECRET in shown for frame in ours for shown in (frame.locals or {}).values())
