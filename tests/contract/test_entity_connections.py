"""What an endpoint file says of a connection: client certificates and authorities before a real TLS server, and headers
that go with each request and are seen nowhere else.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import aiq
from aiq.config.describe import describe_endpoint
from aiq.config.load import load_config
from aiq.errors import ConfigError, SecretError
from tests.contract.cloud_server import CloudServer, cloud_server

CHAT = "/v1/chat/completions"
Ask = Callable[..., list[str]]


@pytest.fixture
def conf(make_conf: Any, tmp_path: Path) -> Any:
    """A folder without endpoints."""
    return make_conf(tmp_path / "conf", "unused")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[CloudServer]:
    """A model behind TLS that speaks to those only whose certificate its authority has signed."""
    with cloud_server(server_context(authority)) as server:
        server.json(CHAT, lambda asked: {
            "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        })  # fmt: skip
        yield server


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    """`tls` of an endpoint file: a certificate of ours, its key, and the authority."""
    return written(authority, tmp_path)


def written(authority: trustme.CA, folder: Path) -> dict[str, str]:
    own = authority.issue_cert("aiq.example")
    own.cert_chain_pems[0].write_to_path(str(folder / "client.pem"))
    own.private_key_pem.write_to_path(str(folder / "client.key"))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    names = {"client_certificate": "client.pem", "client_key": "client.key", "ca_file": "ca.pem"}
    return {name: str(folder / file) for name, file in names.items()}


def define(conf: Any, url: str, own: dict[str, Any], **section: Any) -> None:
    external = {
        "name": "m",
        "provider": "custom",
        "task": "llm/v1/chat",
        "custom_provider_config": {"custom_provider_url": f"{url}/v1", **section},
    }
    conf.endpoint("own", {"name": "main", "external_model": external, "aiq": own})


@pytest.fixture
def ask(conf: Any, home: Path) -> Ask:
    """`ask(server, {"tls": {...}}, rows=3)`: the answers of an endpoint whose `aiq` says so."""

    def asked(server: CloudServer, own: dict[str, Any], *, rows: int = 1, **section: Any) -> list[str]:
        define(conf, server.url, own, **section)
        with aiq.connect(conf=str(conf.path), home=str(home)) as session:
            sql = "SELECT ai_query('own', 'Say ' || i) FROM range(?) t(i)"
            return [text for (text,) in session.sql(sql, [rows]).fetchall()]

    return asked


@pytest.mark.parametrize("transport", ["pyreqwest", "httpx"])
def test_a_client_certificate_is_shown(
    ask: Ask, conf: Any, server: CloudServer, files: dict[str, str], transport: str
) -> None:
    conf.settings(transport=transport)
    assert ask(server, {"tls": files}, rows=3) == ["hi"] * 3


@pytest.mark.parametrize("transport", ["pyreqwest", "httpx"])
def test_without_one_there_is_no_answer(
    ask: Ask, conf: Any, server: CloudServer, files: dict[str, str], transport: str
) -> None:
    conf.settings(transport=transport, retries=0)
    with pytest.raises(aiq.AiqError):
        ask(server, {"tls": {"ca_file": files["ca_file"]}})
    assert server.asked == []


@pytest.mark.parametrize("transport", ["pyreqwest", "httpx"])
def test_a_certificate_that_the_server_does_not_know_is_told_and_not_tried_again(
    ask: Ask, conf: Any, authority: trustme.CA, tmp_path: Path, transport: str
) -> None:
    conf.settings(transport=transport)
    # Later versions let the client begin before they have looked at its certificate: a race decides what it sees.
    context = server_context(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    stranger = {**written(trustme.CA(), tmp_path), "ca_file": str(tmp_path / "known.pem")}
    authority.cert_pem.write_to_path(stranger["ca_file"])
    with (
        cloud_server(context) as server,
        pytest.raises(aiq.AiqError, match=r"does not take our client certificate: .*under aiq.tls") as caught,
    ):
        ask(server, {"tls": stranger})
    assert "retrying" not in str(caught.value)


def test_an_authority_is_trusted_for_its_entity_alone(
    ask: Ask, conf: Any, server: CloudServer, files: dict[str, str]
) -> None:
    pair = {name: path for name, path in files.items() if name != "ca_file"}
    with pytest.raises(aiq.AiqError, match=r"certificate of 127\.0\.0\.1:.* is not to be trusted"):
        ask(server, {"tls": pair})
    assert ask(server, {"tls": files})


def test_a_certificate_that_is_written_anew_is_shown_from_then_on(
    ask: Ask, conf: Any, server: CloudServer, files: dict[str, str], authority: trustme.CA, tmp_path: Path
) -> None:
    stranger = written(trustme.CA(), tmp_path)  # whom the server does not know
    authority.cert_pem.write_to_path(files["ca_file"])
    conf.settings(retries=0)
    with pytest.raises(aiq.AiqError):
        ask(server, {"tls": files})
    written(authority, tmp_path)
    for path in stranger.values():
        os.utime(path, ns=(1, 1))  # another time, however coarse the disk's clock is
    assert ask(server, {"tls": files}) == ["hi"]


@pytest.mark.parametrize("transport", ["pyreqwest", "httpx"])
def test_files_that_do_not_belong_together_are_named_before_a_call(
    ask: Ask, conf: Any, server: CloudServer, files: dict[str, str], tmp_path: Path, transport: str
) -> None:
    conf.settings(transport=transport)
    trustme.CA().issue_cert("other.example").private_key_pem.write_to_path(files["client_key"])
    with pytest.raises(ConfigError, match=r"client\.pem cannot be used"):
        ask(server, {"tls": files})
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"ca\.pem cannot be used"):
        ask(server, {"tls": files})


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        ({}, "expected client_certificate"),
        ({"client_key": "aiq.yml"}, "belongs to client_certificate"),
        ({"client_certificate": "none.pem"}, r"there is no file .*none\.pem"),
        ({"client_cert": "x"}, "client_certificate"),
    ],
)
def test_tls_is_checked_when_it_is_read(ask: Ask, server: CloudServer, tls: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ask(server, {"tls": tls})


# Headers


@pytest.fixture
def open_server() -> Iterator[CloudServer]:
    with cloud_server() as server:
        server.json(CHAT, lambda asked: {
            "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        })  # fmt: skip
        yield server


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AIQ_SECRET_GATE_KEY", "hidden-gate-key-0123456789")
    return "{{secrets/gate/key}}"


def test_headers_go_with_each_request(ask: Ask, open_server: CloudServer, secret: str) -> None:
    headers = {"X-Team": "analytics", "X-Gate": secret}
    ask(open_server, {"headers": headers}, rows=3, bearer_token_auth={"token_plaintext": "own-key-0123456789"})
    for asked in open_server.asked:
        assert (asked.headers["x-team"], asked.headers["x-gate"]) == ("analytics", "hidden-gate-key-0123456789")
        assert asked.headers["authorization"] == "Bearer own-key-0123456789"


def test_a_secret_header_is_seen_nowhere(
    ask: Ask, conf: Any, home: Path, open_server: CloudServer, secret: str
) -> None:
    echoed = b'{"error": {"message": "no access with hidden-gate-key-0123456789"}}'
    open_server.answers[CHAT] = lambda asked: (403, echoed)
    with pytest.raises(aiq.AiqError, match="no access with") as caught:
        ask(open_server, {"headers": {"X-Gate": secret}})
    assert "hidden" not in str(caught.value)
    kept = [path for path in home.rglob("*") if path.is_file() and b"hidden-gate-key" in path.read_bytes()]
    assert kept == []
    endpoint = load_config(str(conf.path), str(home)).endpoints["own"]
    assert "hidden" not in repr(endpoint)
    (shown,) = describe_endpoint(endpoint)["config"]["served_entities"]
    assert shown["aiq"]["headers"] == {"x-gate": secret}


def test_a_secret_header_goes_to_the_hosts_that_it_is_bound_to(
    ask: Ask, home: Path, open_server: CloudServer, secret: str
) -> None:
    folder = home / "secrets" / "gate"
    folder.mkdir(parents=True, mode=0o700)
    folder.parent.chmod(0o700)
    home.chmod(0o700)
    bound = folder / "key.hosts"
    bound.write_text("gate.example\n")
    bound.chmod(0o600)
    with pytest.raises(SecretError, match=r"bound to gate\.example"):
        ask(open_server, {"headers": {"X-Gate": secret}})
    assert open_server.asked == []


@pytest.mark.parametrize("name", ["Authorization", "api-key", "X-Api-Key", "x-goog-api-key", "Cookie", "X-Amz-Date"])
def test_a_key_is_not_overridden(ask: Ask, open_server: CloudServer, name: str) -> None:
    with pytest.raises(ConfigError, match="belongs to the provider's credential"):
        ask(open_server, {"headers": {name: "x"}}, bearer_token_auth={"token_plaintext": "own-key"})


def test_a_server_without_a_key_may_have_any_scheme_of_its_own(ask: Ask, open_server: CloudServer) -> None:
    ask(open_server, {"headers": {"Authorization": "Basic dXNlcjpwYXNz"}})
    assert open_server.asked[0].headers["authorization"] == "Basic dXNlcjpwYXNz"


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Host": "evil.example"}, "can be set"),
        ({"Content-Length": "0"}, "can be set"),
        ({"X Team": "a"}, "can be set"),
        ({"X-Team": "a\r\nX-Evil: b"}, "control character"),
        ({"X-Team": "größe"}, "not ASCII"),
        ({"X-Team": "Key {{secrets/gate/key}}"}, "is not a secret reference"),
        ({"X-Gate": "a", "x-gate": "b"}, "belongs to|twice"),
    ],
)
def test_a_header_is_checked_when_it_is_read(ask: Ask, open_server: CloudServer, headers: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ask(open_server, {"headers": headers})
