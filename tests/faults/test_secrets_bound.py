"""A secret goes to the host that its endpoint names, and nowhere else: whatever a server answers, a body says, or an
error tells.

Two real servers: the one that an endpoint names, which sends everybody on, and the one that it sends them to.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from aiq.config.connections import (
    BedrockConfig,
    CustomConfig,
    DatabricksConfig,
    EntraConfig,
    KeyConfig,
    ModelServerConfig,
    OpenAIConfig,
    ProviderConfig,
    Secret,
    VertexConfig,
)
from aiq.config.endpoint import Provider, ServedEntity, Settings
from aiq.errors import ProviderError
from aiq.providers import Adapter, adapter_for
from aiq.providers.base import HttpResponse
from aiq.request import Caller, Request, Task
from aiq.transport import Transport, open_transport

SECRET = "secret-of-the-endpoint-0123456789"
TOKEN = "token-that-was-granted-0123456789"
ANSWER_WAIT_S = 10.0


class Server:
    """Reads one request a connection, answers the same to all, and keeps what came."""

    def __init__(self, answer: bytes) -> None:
        self.answer, self.seen = answer, list[bytes]()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(ANSWER_WAIT_S)
                seen = b""
                while b"\r\n\r\n" not in seen and (piece := connection.recv(65536)):
                    seen += piece
                head, _, body = seen.partition(b"\r\n\r\n")
                lines = [line.lower() for line in head.split(b"\r\n")]
                size = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
                while len(body) < size and (piece := connection.recv(65536)):
                    body += piece
                self.seen.append(head + b"\r\n\r\n" + body)
                connection.sendall(self.answer)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(ANSWER_WAIT_S)


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], Server]]:
    servers: list[Server] = []

    def start(answer: bytes) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def key_file() -> str:
    """A service account's key file, but for the address of its token server."""
    private = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key = {
        "type": "service_account",
        "client_email": "a@b.iam",
        "private_key": private.decode(),
        "token_uri": "URL/token",
    }
    return orjson.dumps(key).decode()


class Way(NamedTuple):
    """How one provider is spoken to."""

    provider: Provider
    config: Callable[[str, str], ProviderConfig]
    """Of the server's URL and the key file."""
    task: Task = "llm/v1/chat"


def secret() -> Secret:
    return Secret(SECRET, "test")


WAYS: dict[str, Way] = {
    "openai": Way("openai", lambda url, _: OpenAIConfig(secret(), api_base=f"{url}/v1")),
    "openai embeddings": Way(
        "openai", lambda url, _: OpenAIConfig(secret(), api_base=f"{url}/v1"), "llm/v1/embeddings"
    ),
    "openai responses": Way("openai", lambda url, _: OpenAIConfig(secret(), api_base=f"{url}/v1", responses=True)),
    "azure": Way(
        "openai",
        lambda url, _: OpenAIConfig(secret(), "azure", api_base=url, api_version="2024-10-21", deployment_name="d"),
    ),
    "azure entra": Way(
        "openai",
        lambda url, _: OpenAIConfig(
            None, "azuread", url, "2024-10-21", "d", entra=EntraConfig("tenant", "client", secret(), url)
        ),
    ),
    "custom bearer": Way("custom", lambda url, _: CustomConfig(f"{url}/v1", bearer=secret())),
    "custom header": Way("custom", lambda url, _: CustomConfig(f"{url}/v1", header=("x-key", secret()))),
    "anthropic": Way("anthropic", lambda url, _: KeyConfig(secret(), url)),
    "cohere": Way("cohere", lambda url, _: KeyConfig(secret(), url)),
    "ai21labs": Way("ai21labs", lambda url, _: KeyConfig(secret(), url)),
    "palm": Way("palm", lambda url, _: KeyConfig(secret(), url)),
    "vertex": Way(
        "google-cloud-vertex-ai",
        lambda url, key: VertexConfig("p", "us-central1", Secret(key.replace("URL", url), "test"), url),
    ),
    "bedrock pair": Way(
        "amazon-bedrock",
        lambda url, _: BedrockConfig("us-east-1", "anthropic", Secret("AKIATEST", "test"), secret(), api_base=url),
    ),
    "bedrock key": Way(
        "amazon-bedrock", lambda url, _: BedrockConfig("us-east-1", "anthropic", api_key=secret(), api_base=url)
    ),
    "databricks": Way("databricks-model-serving", lambda url, _: DatabricksConfig(url, secret())),
    "databricks M2M": Way("databricks-model-serving", lambda url, _: DatabricksConfig(url, None, "client", secret())),
    "model server": Way("model-server", lambda url, _: ModelServerConfig(f"{url}/invocations", secret()), "custom"),
    "agent": Way(
        "model-server", lambda url, _: ModelServerConfig(f"{url}/invocations", secret()), "agent/v1/responses"
    ),
}
GRANTING = ["azure entra", "vertex", "databricks M2M"]
"""Those that send a token instead of the secret itself."""
BODIES: dict[Task, dict[str, Any]] = {
    "llm/v1/chat": {"messages": [{"role": "user", "content": "Hi"}]},
    "llm/v1/embeddings": {"input": ["Hi"]},
    "custom": {"inputs": ["Hi"]},
    "agent/v1/responses": {"messages": [{"role": "user", "content": "Hi"}]},
}


def reply(status: int, body: Any) -> HttpResponse:
    return HttpResponse(status, {"content-type": "application/json"}.get, orjson.dumps(body))


def open_adapter(way: str, url: str, key_file: str) -> Adapter:
    """An adapter that has what it needs for a request."""
    provider, config, task = WAYS[way]
    entity = ServedEntity("e", "main", provider, "model-1", task, config(url, key_file))
    adapter = adapter_for(entity, lambda: 1.7e9)
    adapter.prepare()
    if adapter.token_request() is not None:
        adapter.take_token(reply(200, {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}))
    return adapter


def request_of(way: str, **body: Any) -> Request:
    task = WAYS[way].task
    return Request("chat", task, {**BODIES[task], **body}, Caller("ann"), "st")


def redirect(status: int, url: str) -> bytes:
    return f"HTTP/1.1 {status} Go\r\nlocation: {url}/v1/x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()


def run(kind: str, work: Callable[[Transport], Any]) -> None:
    async def all_of_it() -> None:
        transport = open_transport(Settings(transport=kind))  # type: ignore[arg-type]
        try:
            await work(transport)
        finally:
            await transport.close()

    asyncio.run(all_of_it())


@pytest.mark.parametrize("kind", ["pyreqwest", "httpx"])
@pytest.mark.parametrize("way", WAYS)
def test_a_redirect_takes_no_secret_to_another_host(
    serve: Callable[[bytes], Server], key_file: str, way: str, kind: str
) -> None:
    thief = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")

    async def ask(transport: Transport) -> None:
        for status in (301, 302, 303, 307, 308):
            named = serve(redirect(status, thief.url))
            adapter, request = open_adapter(way, named.url, key_file), request_of(way)
            with pytest.raises(ProviderError, match="redirect") as caught:
                adapter.decode(request, await transport.send(adapter.encode(request), 10))
            assert SECRET not in str(caught.value)
            asked = 1
            if adapter.streams(request):
                asked = 2
                stream = await transport.stream(adapter.encode(request, stream=True), 10, 10)
                head = HttpResponse(stream.status, stream.header, b"")
                with pytest.raises(ProviderError, match="redirect"):
                    adapter.decoder(request, head).end()
                await stream.close()
            assert len(named.seen) == asked

    run(kind, ask)
    assert thief.seen == []


@pytest.mark.parametrize("kind", ["pyreqwest", "httpx"])
@pytest.mark.parametrize("way", GRANTING)
def test_a_token_server_that_redirects_gets_nobody_elses_host_the_credential(
    serve: Callable[[bytes], Server], key_file: str, way: str, kind: str
) -> None:
    thief = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
    named = serve(redirect(307, thief.url))
    adapter = open_adapter(way, named.url, key_file)

    async def ask(transport: Transport) -> None:
        asked = adapter.token_request()
        assert asked is not None and asked.url.startswith(named.url + "/")
        with pytest.raises(ProviderError) as caught:
            adapter.take_token(await transport.send(asked, 10))
        assert SECRET not in str(caught.value)

    run(kind, ask)
    assert len(named.seen) == 1
    assert thief.seen == []


NAMES = [
    "model", "modelId", "api_base", "base_url", "baseURL", "api_key", "api_version", "api_type", "deployment",
    "endpoint", "endpoint_url", "url", "host", "region", "aws_region", "project", "location", "proxy",
    "headers", "extra_headers", "default_headers", "extra_query", "extra_body", "http_client", "authorization",
    "Authorization", "x-api-key", "anthropic_version", "x-portkey-custom-host", "custom_host", "organization",
    "workspace_url", "timeout",
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_body_changes_neither_where_a_request_goes_nor_its_headers(key_file: str, way: str) -> None:
    adapter = open_adapter(way, "http://127.0.0.1:9", key_file)
    plain = adapter.encode(request_of(way))
    for name in NAMES:
        for value in ("http://evil.test/v1", {"authorization": "x", "host": "evil.test"}):
            try:
                sent = adapter.encode(request_of(way, **{name: value}))
            except ProviderError:  # which is refused is not sent
                continue
            assert sent.url == plain.url, name
            assert {key for key, _ in sent.headers} == {key for key, _ in plain.headers}, name
            changing = ("authorization",) if way == "bedrock pair" else ()  # a signature is over the body
            kept = {(key, value) for key, value in plain.headers if key not in changing}
            assert kept <= set(sent.headers), name


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_stands_in_headers_only(key_file: str, way: str) -> None:
    adapter = open_adapter(way, "http://127.0.0.1:9", key_file)
    sent = adapter.encode(request_of(way))
    for hidden in (SECRET, TOKEN):
        assert hidden not in sent.url and hidden not in adapter.address
        assert hidden.encode() not in sent.body
    carried = str(sent.headers)
    if way == "bedrock pair":
        assert SECRET not in carried  # it signs, and stays
    else:
        assert (TOKEN if way in GRANTING else SECRET) in carried


@pytest.mark.parametrize("status", [200, 400, 401, 403, 429, 500])
@pytest.mark.parametrize("way", WAYS)
def test_a_secret_that_a_server_echoes_is_not_told(key_file: str, way: str, status: int) -> None:
    adapter = open_adapter(way, "http://127.0.0.1:9", key_file)
    sent = TOKEN if way in GRANTING else SECRET
    words = f"you sent {sent}"
    bodies = [{"error": {"message": words}}, {"message": words}, {"error": words}, words, {"detail": words}]
    for body in bodies:
        with pytest.raises(ProviderError) as caught:
            adapter.decode(request_of(way), reply(status, body))
        told = f"{caught.value} {caught.value.reason} {caught.value.body} {caught.value!r}"
        assert sent not in told
