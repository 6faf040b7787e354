"""Links to images: nothing inside is ever connected to; what is fetched is an image, whole, bounded, without secrets.

The server is a real one, on the loopback, which is why everybody but one test must be kept from it.
"""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import aiq
from aiq.batch.loop import submit
from aiq.config.endpoint import Settings
from aiq.errors import PolicyError
from aiq.gateway.image_links import MAX_IMAGES, ImageFetcher, ImageRefused
from aiq.gateway.screening import Screening
from aiq.image import MAX_IMAGE_BYTES
from aiq.request import Caller, Request
from aiq.runtime import open_gateway
from aiq.simulator.process import SimulatorProcess
from aiq.simulator.vendors.base import SECRET
from aiq.transport.public_web import Address, PublicWeb
from tests.processes import PATIENCE_S

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 100
NAME = "images.example.com"
OK = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"


class ImageServer:
    """Serves one answer over TLS, and keeps what it was asked."""

    def __init__(self, certificate: Path) -> None:
        self.answer = OK % len(PNG) + PNG
        self.silent = False
        self.asked: list[bytes] = []
        self.connections = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            try:
                with self._context.wrap_socket(plain, server_side=True) as connection:
                    connection.settimeout(10)
                    self.asked.append(connection.recv(65536))
                    if self.silent:
                        connection.recv(1)
                    connection.sendall(self.answer)
            except OSError:
                continue

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(PATIENCE_S)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for the image server's name, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(NAME)])
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
    signed = (
        built.not_valid_after(now + datetime.timedelta(days=1)).add_extension(names, False).sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def server(certificate: Path) -> Iterator[ImageServer]:
    server = ImageServer(certificate)
    yield server
    server.close()


async def to_loopback(host: str, port: int) -> Sequence[Address]:
    return [ip_address("127.0.0.1")]


def fetch(url: str, web: PublicWeb | None = None, *, timeout_s: float = 10.0, **settings: Any) -> str:
    async def work() -> str:
        found = await ImageFetcher(web, timeout_s=timeout_s).fetch([url], Settings(**settings))
        return found[url]

    return asyncio.run(work())


@pytest.fixture
def fetched(server: ImageServer, certificate: Path) -> Callable[..., str]:
    """Fetches from the image server as if it were public."""

    def work(path: str = "/a.png", **changes: Any) -> str:
        web = PublicWeb(to_loopback, lambda address: True)
        return fetch(f"https://{NAME}:{server.port}{path}", web, ca_file=str(certificate), **changes)

    return work


def test_a_public_image_is_fetched_without_any_credential(server: ImageServer, fetched: Callable[..., str]) -> None:
    assert fetched("/ü.png?sig=ä#x").startswith("data:image/png;base64,iVBOR")
    lines = server.asked[0].decode().split("\r\n")
    assert lines[0] == "GET /%C3%BC.png?sig=%C3%A4 HTTP/1.1"
    names = {line.partition(":")[0].lower() for line in lines[1:] if line}
    assert names == {"host", "accept", "accept-encoding", "user-agent"}


INSIDE = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "017700000001",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "localhost",
    "a.localhost",
]


@pytest.mark.parametrize("host", INSIDE)
def test_a_server_inside_is_not_connected_to_in_any_notation(server: ImageServer, host: str) -> None:
    with pytest.raises(ImageRefused, match=r"private|this machine"):
        fetch(f"https://{host}:{server.port}/a.png")
    assert server.connections == 0


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_a_name_that_leads_inside_is_not_connected_to(server: ImageServer, address: str) -> None:
    async def lies(host: str, port: int) -> Sequence[Address]:
        return [ip_address("93.184.216.34"), ip_address(address)]  # one of several is enough

    with pytest.raises(ImageRefused, match="private or reserved"):
        fetch(f"https://{NAME}:{server.port}/a.png", PublicWeb(lies))
    assert server.connections == 0


def test_a_name_of_the_system_that_leads_inside_is_not_connected_to(
    server: ImageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(ImageRefused, match="private or reserved"):
        fetch(f"https://{NAME}:{server.port}/a.png")
    assert server.connections == 0


def test_a_name_is_resolved_once_and_its_address_is_the_one_connected_to(
    server: ImageServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def rebinds(host: str, port: int) -> Sequence[Address]:
        asked.append(host)
        return [ip_address("127.0.0.1" if len(asked) == 1 else "127.0.0.2")]

    looked_up: list[Any] = []
    plain = socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **more: Any) -> Any:
        looked_up.append(host)
        return plain(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    web = PublicWeb(rebinds, lambda address: str(address) == "127.0.0.1")
    fetch(f"https://{NAME}:{server.port}/a.png", web, ca_file=str(certificate))
    assert asked == [NAME]
    assert {str(host) for host in looked_up} <= {"127.0.0.1"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 302 Found\r\nlocation: https://127.0.0.1/\r\ncontent-length: 0\r\n\r\n", "redirects"),
        (b"HTTP/1.1 307 T\r\nlocation: https://images.example.com/b.png\r\ncontent-length: 0\r\n\r\n", "redirects"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "HTTP 404"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\n<ht>", "content-type"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(PNG) + PNG, "content-type"),
        (OK % 100 + b"root:x:0:0:root:/root:/bin/bash\n" + b"x" * 68, "no JPEG, PNG, GIF or WEBP"),
        (OK % 3 + b"\x89PN", "no JPEG, PNG, GIF or WEBP"),
        (OK % 0, "no JPEG, PNG, GIF or WEBP"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-encoding: gzip\r\n\r\n" + PNG, "compressed"),
        (OK % (MAX_IMAGE_BYTES + 1) + PNG, "larger than"),
        (OK % 500 + PNG, "cannot be fetched"),
        (b"SSH-2.0-OpenSSH\r\n", "cannot be fetched"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: " + b"a" * 200_000, "cannot be fetched"),
    ],
)
def test_what_is_no_whole_image_is_refused(
    server: ImageServer, fetched: Callable[..., str], answer: bytes, words: str
) -> None:
    server.answer = answer
    with pytest.raises(ImageRefused, match=words):
        fetched()
    assert server.connections == 1


def test_an_image_without_a_length_is_bounded(server: ImageServer, fetched: Callable[..., str]) -> None:
    server.answer = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n" + PNG + b"\x00" * (MAX_IMAGE_BYTES + 1)
    with pytest.raises(ImageRefused, match="larger than"):
        fetched()


def test_a_silent_server_is_not_waited_for(server: ImageServer, fetched: Callable[..., str]) -> None:
    server.silent = True
    with pytest.raises(ImageRefused, match="did not come within"):
        fetched(timeout_s=0.2)


def test_a_certificate_must_be_of_the_name(server: ImageServer, certificate: Path) -> None:
    web = PublicWeb(to_loopback, lambda address: True)
    with pytest.raises(ImageRefused, match=r"(?i)certificate"):
        fetch(f"https://other.example.com:{server.port}/a.png", web, ca_file=str(certificate))
    with pytest.raises(ImageRefused, match=r"(?i)certificate"):
        fetch(f"https://{NAME}:{server.port}/a.png", web)
    assert server.asked == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"http://{NAME}/a.png", "not at an https address"),
        (f"https://user:pw-secret@{NAME}/a.png", "a user or a password"),
        ("file:///etc/passwd", "not a web address"),
    ],
)
def test_only_plain_https_is_fetched(url: str, words: str) -> None:
    with pytest.raises(ImageRefused, match=words) as caught:
        fetch(url, PublicWeb(to_loopback, lambda address: True))
    assert "pw-secret" not in str(caught.value)


def test_nothing_is_fetched_through_a_proxy_or_without_end(server: ImageServer) -> None:
    with pytest.raises(ImageRefused, match="proxy"):
        fetch(f"https://{NAME}:{server.port}/a.png", proxy="http://127.0.0.1:1")

    async def many() -> None:
        await ImageFetcher().fetch([f"https://{NAME}/{i}.png" for i in range(MAX_IMAGES + 1)], Settings())

    with pytest.raises(ImageRefused, match=f"may link {MAX_IMAGES} images"):
        asyncio.run(many())


@pytest.fixture
def asked(conf: Any, home: Path, simulator: SimulatorProcess, certificate: Path) -> Callable[..., Any]:
    """`asked(url, endpoint="bedrock")`: the answer to a question about a linked image, through the whole gateway."""
    pair = {"aws_access_key_id_plaintext": "AKIATEST", "aws_secret_access_key_plaintext": SECRET}
    config = {"aws_region": "eu-central-1", "bedrock_provider": "anthropic", **pair}
    external = {"name": "anthropic.claude", "provider": "amazon-bedrock", "task": "llm/v1/chat"}
    own = {"api_base": simulator.url}
    table = {"enabled": True, "catalog_name": "main", "schema_name": "ai", "table_name_prefix": "bedrock"}
    entity = {"name": "main", "external_model": {**external, "amazon_bedrock_config": config}, "aiq": own}
    conf.endpoint("bedrock", entity, gateway={"inference_table_config": table})

    def ask(url: str, endpoint: str = "chat", *, fetch_images: bool = True, web: PublicWeb | None = None) -> Any:
        servers = {"model": {"model_server": {"url": f"{simulator.url}/invocations"}}}
        conf.settings(fetch_images=fetch_images, ca_file=str(certificate), endpoints=servers)
        gateway = open_gateway(str(conf.path), str(home))
        gateway.open_endpoint(endpoint)
        gateway.pipeline.screening = Screening(gateway.pipeline.recorder, ImageFetcher(web))
        image = {"type": "image_url", "image_url": {"url": url}}
        content = [{"type": "text", "text": "What is it?"}, image]
        body = {"messages": [{"role": "user", "content": content}]}
        request = Request(endpoint, "llm/v1/chat", body, Caller("ann"), "st-1")
        try:
            return submit(gateway.answer(request)).result(timeout=PATIENCE_S).value
        finally:
            gateway.ledger.commit()

    return ask


def test_an_image_is_fetched_for_a_provider_that_takes_bytes(
    server: ImageServer, asked: Callable[..., Any], ledger_rows: Callable[..., Any]
) -> None:
    web = PublicWeb(to_loopback, lambda address: True)
    url = f"https://{NAME}:{server.port}/a.png"
    assert "image/png, 108 bytes" in asked(url, "bedrock", web=web)
    assert server.connections == 1
    (row,) = ledger_rows("main.ai.bedrock_payload")
    logged = orjson.loads(row["request"])
    assert logged["messages"][0]["content"][1]["image_url"]["url"] == url  # what was asked, not what was sent


def test_a_provider_that_takes_links_gets_the_link(server: ImageServer, asked: Callable[..., Any]) -> None:
    assert "image" in asked(f"https://{NAME}:{server.port}/a.png", "chat")
    assert server.connections == 0


def test_a_link_that_says_its_type_is_left_to_google_and_another_is_fetched(
    server: ImageServer, conf: Any, simulator: SimulatorProcess, asked: Callable[..., Any]
) -> None:
    external = {"name": "gemini-2.5-flash", "provider": "palm", "task": "llm/v1/chat"}
    config = {"palm_config": {"palm_api_key_plaintext": "k-test"}}
    entity = {"name": "main", "external_model": {**external, **config}, "aiq": {"api_base": simulator.url}}
    conf.endpoint("gemini", entity)
    web = PublicWeb(to_loopback, lambda address: True)
    assert "image" in asked(f"https://{NAME}:{server.port}/a.png", "gemini", web=web)
    assert server.connections == 0
    assert "image/png, 108 bytes" in asked(f"https://{NAME}:{server.port}/a", "gemini", web=web)
    assert server.connections == 1


def test_unless_it_was_switched_on_nothing_is_fetched(server: ImageServer, asked: Callable[..., Any]) -> None:
    web = PublicWeb(to_loopback, lambda address: True)
    with pytest.raises(aiq.AiqError, match="fetch_images: true"):
        asked(f"https://{NAME}:{server.port}/a.png", "bedrock", fetch_images=False, web=web)
    assert server.connections == 0


@pytest.mark.parametrize("endpoint", ["chat", "bedrock"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f000001", "[::ffff:7f00:1]", "169.254.169.254", "localhost"])
def test_a_link_that_leads_inside_reaches_no_provider(
    server: ImageServer,
    simulator: SimulatorProcess,
    asked: Callable[..., Any],
    ledger_rows: Any,
    endpoint: str,
    host: str,
) -> None:
    with pytest.raises(PolicyError, match="leads to") as caught:
        asked(f"https://{host}:{server.port}/a.png?token=abc", endpoint)
    assert caught.value.status == 400
    assert "token" not in caught.value.reason
    assert server.connections == 0 and simulator.attempts() == []
    assert [row["status"] for row in ledger_rows("system.aiq.calls")] == ["refused"]


def test_a_name_that_leads_inside_is_a_row_error(
    server: ImageServer, simulator: SimulatorProcess, asked: Callable[..., Any]
) -> None:
    with pytest.raises(PolicyError, match="private or reserved"):
        asked(f"https://{NAME}:{server.port}/a.png", "bedrock", web=PublicWeb(to_loopback))
    assert server.connections == 0 and simulator.attempts() == []
