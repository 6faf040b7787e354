"""A secret goes to hosts that its user allows, and unencrypted to this machine only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiq.config.connections import CustomConfig, EntraConfig, OpenAIConfig, ProviderConfig, Secret
from aiq.config.endpoint import Provider, ServedEntity, Settings
from aiq.config.load import load_config
from aiq.config.secret_hosts import check_hosts, is_loopback, warnings_of
from aiq.config.secrets import SecretStore
from aiq.errors import ConfigError, SecretError

HTTPS = "https://api.openai.com/v1/chat/completions"


def entity(config: ProviderConfig, provider: Provider = "openai") -> ServedEntity:
    return ServedEntity("id", "main", provider, "gpt", "llm/v1/chat", config)


def bound(home: Path, hosts: str | None, mode: int = 0o600, name: str = "api_key") -> ServedEntity:
    folder = home / "secrets" / "openai"
    folder.mkdir(parents=True, exist_ok=True)
    if hosts is not None:
        (folder / f"{name}.hosts").write_text(hosts)
        (folder / f"{name}.hosts").chmod(mode)
    store = SecretStore(home, {"AIQ_SECRET_OPENAI_API_KEY": "sk-x"})
    return entity(OpenAIConfig(store.reference("openai", name)))


@pytest.mark.parametrize(
    ("hosts", "address"),
    [
        ("api.openai.com", HTTPS),
        ("*.openai.com\n", HTTPS),
        ("*.openai.com", "https://openai.com/v1"),
        ("other.test\nAPI.openai.com\n", HTTPS),
        ("127.0.0.1", "http://127.0.0.1:9/v1"),
    ],
)
def test_a_bound_secret_goes_to_its_hosts(tmp_path: Path, hosts: str, address: str) -> None:
    check_hosts(bound(tmp_path, hosts), address, Settings())


@pytest.mark.parametrize(
    ("hosts", "address"),
    [
        ("api.openai.com", "https://evil.test/v1"),
        ("api.openai.com", "https://api.openai.com.evil.test/v1"),
        ("*.openai.com", "https://evilopenai.com/v1"),
        ("api.openai.com", "http://127.0.0.1/v1"),
        ("", HTTPS),
    ],
)
def test_a_bound_secret_goes_nowhere_else(tmp_path: Path, hosts: str, address: str) -> None:
    with pytest.raises(SecretError, match=r"is bound to .*openai/api_key\.hosts"):
        check_hosts(bound(tmp_path, hosts), address, Settings(plain_http_hosts=("evil.test",)))


def test_a_binding_that_others_can_change_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="can be read by others"):
        check_hosts(bound(tmp_path, "api.openai.com", mode=0o666), HTTPS, Settings())


@pytest.mark.parametrize("address", ["http://127.0.0.1:8000/v1", "http://localhost/v1", "http://[::1]:80/v1"])
def test_plain_http_to_this_machine_needs_no_leave(address: str) -> None:
    check_hosts(entity(OpenAIConfig(Secret("k", "secrets/a/b"))), address, Settings())


@pytest.mark.parametrize("host", ["vllm.internal", "10.0.0.7", "0.0.0.0", "127.0.0.1.evil.test", "localhost.evil.test"])
def test_plain_http_to_another_machine_needs_leave(host: str) -> None:
    for config in (OpenAIConfig(Secret("k", "plaintext")), CustomConfig("u", header=("x", Secret("k", "secrets/a/b")))):
        with pytest.raises(SecretError, match=r"over plain http.*plain_http_hosts: \[" + host):
            check_hosts(entity(config), f"http://{host}:8000/v1", Settings())
        check_hosts(entity(config), f"http://{host}:8000/v1", Settings(plain_http_hosts=(host,)))


def test_plain_http_without_a_secret_is_free() -> None:
    check_hosts(entity(CustomConfig("http://vllm.internal/v1"), "custom"), "http://vllm.internal/v1", Settings())


def test_a_token_server_is_a_place_too() -> None:
    entra = EntraConfig("t", "c", Secret("k", "secrets/entra/secret"), "http://login.test")
    config = OpenAIConfig(None, "azuread", "https://x.openai.azure.com", "1", "d", entra=entra)
    with pytest.raises(SecretError, match=r"login\.test over plain http"):
        check_hosts(entity(config), "https://x.openai.azure.com/openai", Settings())


@pytest.mark.parametrize(
    ("source", "address", "warned"),
    [
        ("secrets/openai/api_key", "https://evil.test/v1", True),
        ("secrets/prod/OPENAI-KEY", "https://evil.test/v1", True),
        ("secrets/openai/api_key", "https://openai.com.evil.test/v1", True),
        ("secrets/anthropic/key", HTTPS, True),
        ("secrets/openai/api_key", HTTPS, False),
        ("secrets/azure_openai/key", "https://x.openai.azure.com/", False),
        ("secrets/openai/api_key", "http://127.0.0.1:1/v1", False),
        ("secrets/vllm/key", "https://evil.test/v1", False),
        ("plaintext", "https://evil.test/v1", False),
    ],
)
def test_an_official_keys_name_at_another_host_is_warned_of(source: str, address: str, warned: bool) -> None:
    found = warnings_of(entity(OpenAIConfig(Secret("k", source))), address)
    assert bool(found) is warned and all(f"<home>/{source}.hosts" in words for words in found)


def test_a_binding_silences_the_warning(tmp_path: Path) -> None:
    assert warnings_of(bound(tmp_path, "proxy.corp.test"), "https://proxy.corp.test/v1") == []


def test_this_machine_is_known_by_its_addresses() -> None:
    assert is_loopback("127.8.9.1") and is_loopback("a.localhost") and not is_loopback("2130706433")


@pytest.mark.parametrize("hosts", ["http://a.test", "*", ""])
def test_what_is_no_host_is_refused_where_it_stands(tmp_path: Path, hosts: str) -> None:
    (tmp_path / "endpoints").mkdir()
    (tmp_path / "aiq.yml").write_text(f'plain_http_hosts: ["{hosts}"]\n')
    with pytest.raises(ConfigError, match="plain_http_hosts"):
        load_config(tmp_path, tmp_path)


def test_a_statement_is_refused_before_anything_is_sent(tmp_path: Path, make_conf: Any) -> None:
    import aiq

    conf = make_conf(tmp_path / "conf", "http://192.0.2.1:9")
    conf.endpoint("chat")
    with (
        aiq.connect(conf=conf.path, home=tmp_path / "home") as session,
        pytest.raises(SecretError, match=r"its key to 192\.0\.2\.1 over plain http"),
    ):
        session.sql("SELECT ai_query('chat', 'x')")
