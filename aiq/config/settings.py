"""`conf/aiq.yml`: the settings that Databricks has no field for. Must never show a proxy's password.

All keys are flat and are the names of `Settings`, so that one page of a sample file documents both.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any, Literal, NamedTuple, cast
from urllib.parse import urlsplit, urlunsplit

from aiq.config.connections import ModelServerConfig, Secret
from aiq.config.destinations import read_destination
from aiq.config.document import Node, read_documents
from aiq.config.endpoint import EndpointSettings, Price, Settings
from aiq.config.external_models import read_model_server
from aiq.config.nearest import nearest
from aiq.config.reuse import Reuse, parse_reuse
from aiq.config.secrets import SecretStore, read_reference
from aiq.errors import ConfigError, StatementError

MAX_CONCURRENCY = 16_384
MAX_EMBEDDING_BATCH_ROWS = 2048
"""OpenAI's limit of inputs in one embeddings request."""
_SECRET_OPTION = re.compile(r"secret|password|token|sas|account_key|credential", re.IGNORECASE)
_KNOWN = tuple(Settings.__dataclass_fields__)


class SettingsFile(NamedTuple):
    """What `aiq.yml` says: the settings, and by endpoint name where its custom models are scored."""

    settings: Settings
    model_servers: dict[str, ModelServerConfig]
    endpoint_nodes: dict[str, Node]

    def check_endpoints(self, names: Collection[str]) -> None:
        """Raise ConfigError when `endpoints.<name>` names no endpoint of `names`."""
        for name, node in self.endpoint_nodes.items():
            if name not in names:
                known = f" Endpoints: {', '.join(sorted(names))}." if names else " There are no endpoint files."
                node.fail(f"no endpoint is called {name!r}.{nearest(name, names)}{known}")


class ProxyUrl(str):
    """A proxy's URL whose `repr` hides the password, so that a logged `Settings` does too."""

    __slots__ = ()

    def __repr__(self) -> str:
        parts = urlsplit(self)
        user, at, host = parts.netloc.rpartition("@")
        shown = f"{user.partition(':')[0]}:***@{host}" if at and ":" in user else parts.netloc
        return repr(urlunsplit(parts._replace(netloc=shown)))


def read_settings(path: str, store: SecretStore) -> SettingsFile:
    """The settings of `path`, or the defaults when there is no such file. Raises ConfigError."""
    if not os.path.lexists(path):
        return SettingsFile(Settings(), {}, {})
    documents = read_documents(path)
    if not documents:
        return SettingsFile(Settings(), {}, {})
    if len(documents) > 1:
        raise ConfigError("expected one YAML document, not several", file=path, line=documents[1].line)
    root = documents[0]
    members = root.fields(_KNOWN)
    default = Settings()

    def seconds(name: str, otherwise: float) -> float:
        return members[name].number("a number of seconds") if name in members else otherwise

    def integer_setting(name: str, otherwise: int, low: int, high: int) -> int:
        return members[name].integer(low, high) if name in members else otherwise

    def text(name: str) -> str | None:
        return members[name].text() if name in members else None

    limits_store, password = members.get("limits_store"), members.get("limits_redis_password")
    if limits_store and limits_store.text() == "redis":
        root.required(members, "limits_redis_url", "redis://host:6379/0, where limits_store is redis")
    transport, error_field = members.get("transport"), members.get("error_field")
    sections = members["endpoints"].mapping() if "endpoints" in members else {}
    endpoints = {name: _read_endpoint_settings(node, store) for name, node in sections.items()}
    prices = members["prices"].mapping() if "prices" in members else {}
    options = members["storage_options"].mapping() if "storage_options" in members else {}
    catalogs = members["catalogs"].mapping() if "catalogs" in members else {}
    destinations = members["alert_destinations"].mapping() if "alert_destinations" in members else {}
    volumes = members["volumes"].mapping() if "volumes" in members else {}
    settings = Settings(
        concurrency=integer_setting("concurrency", default.concurrency, 1, MAX_CONCURRENCY),
        transport=cast(
            Literal["pyreqwest", "httpx"],
            transport.choice(("pyreqwest", "httpx")) if transport else default.transport,
        ),
        connect_timeout_s=seconds("connect_timeout_s", default.connect_timeout_s),
        read_timeout_s=seconds("read_timeout_s", default.read_timeout_s),
        timeout_s=seconds("timeout_s", default.timeout_s),
        max_response_bytes=integer_setting("max_response_bytes", default.max_response_bytes, 1024, 2**31 - 1),
        proxy=_read_proxy(members["proxy"]) if "proxy" in members else None,
        ca_file=_read_ca_file(members["ca_file"], os.path.dirname(path)) if "ca_file" in members else None,
        plain_http_hosts=_hosts(members["plain_http_hosts"]) if "plain_http_hosts" in members else (),
        credential_hosts=_hosts(members["credential_hosts"]) if "credential_hosts" in members else (),
        fetch_images=members["fetch_images"].boolean() if "fetch_images" in members else default.fetch_images,
        retries=integer_setting("retries", default.retries, 0, 1000),
        retries_before_fallback=integer_setting("retries_before_fallback", default.retries_before_fallback, 0, 1000),
        embedding_batch_rows=integer_setting(
            "embedding_batch_rows", default.embedding_batch_rows, 1, MAX_EMBEDDING_BATCH_ROWS
        ),
        account_id=text("account_id"),
        workspace_id=text("workspace_id"),
        user=text("user"),
        groups=tuple(item.text() for item in members["groups"].items()) if "groups" in members else (),
        error_field=cast(
            Literal["result", "response"],
            error_field.choice(("result", "response")) if error_field else default.error_field,
        ),
        progress=members["progress"].boolean() if "progress" in members else default.progress,
        limits_store=cast(
            Literal["file", "memory", "redis"],
            limits_store.choice(("file", "memory", "redis")) if limits_store else default.limits_store,
        ),
        limits_redis_url=_read_redis(members["limits_redis_url"]) if "limits_redis_url" in members else None,
        limits_redis_password=_read_password(password, store) if password else None,
        tables=_read_tables(members["tables"]) if "tables" in members else None,
        storage_options={name: _read_option(name, node, store) for name, node in options.items()},
        prices={model: _read_price(node) for model, node in prices.items()},
        endpoints={name: own for name, (own, _) in endpoints.items()},
        catalogs={name: None if node.value is None else node.text() for name, node in catalogs.items()},
        alert_destinations={
            name: read_destination(name, node, store, os.path.dirname(path)) for name, node in destinations.items()
        },
        webhook_hosts=_hosts(members["webhook_hosts"]) if "webhook_hosts" in members else (),
        volumes={prefix: _read_volume(prefix, node, os.path.dirname(path)) for prefix, node in volumes.items()},
    )
    servers = {name: server for name, (_, server) in endpoints.items() if server is not None}
    return SettingsFile(settings, servers, sections)


def _read_endpoint_settings(node: Node, store: SecretStore) -> tuple[EndpointSettings, ModelServerConfig | None]:
    if node.value is None:
        return EndpointSettings(), None
    members = node.fields(("concurrency", "timeout_s", "embedding_batch_rows", "reuse", "model_server", "return_type"))
    concurrency, timeout = members.get("concurrency"), members.get("timeout_s")
    rows, server = members.get("embedding_batch_rows"), members.get("model_server")
    reuse, kind = members.get("reuse"), members.get("return_type")
    own = EndpointSettings(
        concurrency=concurrency.integer(1, MAX_CONCURRENCY) if concurrency else None,
        timeout_s=timeout.number("a number of seconds") if timeout else None,
        embedding_batch_rows=rows.integer(1, MAX_EMBEDDING_BATCH_ROWS) if rows else None,
        reuse=_read_reuse(reuse) if reuse else None,
        return_type=kind.text() if kind else None,
    )
    return own, read_model_server(server, store) if server else None


def _hosts(node: Node) -> tuple[str, ...]:
    hosts = tuple(item.text().strip().lower() for item in node.items())
    for host, item in zip(hosts, node.items(), strict=True):
        if not host or "/" in host or host == "*":
            item.fail("expected a host such as vllm.internal, without http:// and port")
    return hosts


def _read_reuse(node: Node) -> Reuse:
    text = "off" if node.value is False else node.text()  # YAML takes a bare off for false
    try:
        return parse_reuse(text)
    except StatementError as error:
        node.fail(str(error))


_PRICES = (
    "input_per_mtok", "output_per_mtok", "cached_input_per_mtok", "cache_write_per_mtok", "cache_write_1h_per_mtok",
    "audio_input_per_mtok", "cached_audio_per_mtok", "audio_output_per_mtok", "image_output_per_mtok",
)  # fmt: skip


def _read_price(node: Node, *, tier: bool = False) -> Price:
    members = node.fields((*_PRICES, "above_input_tokens") if tier else (*_PRICES, "tiers", "service_tiers"))
    expected = "US dollars per million tokens, a number"
    node.required(members, "input_per_mtok", expected)
    node.required(members, "output_per_mtok", expected)
    given: dict[str, Any] = {name: members[name].number(expected, zero=True) for name in _PRICES if name in members}
    price = Price(**given)
    if tier:
        above = node.required(members, "above_input_tokens", "the tokens that a prompt must exceed")
        return replace(price, above_input_tokens=above.integer(1, 10**9))
    tiers = [_read_price(item, tier=True) for item in members["tiers"].items()] if "tiers" in members else []
    factors = members["service_tiers"].mapping() if "service_tiers" in members else {}
    return replace(
        price,
        tiers=tuple(sorted(tiers, key=lambda price: price.above_input_tokens)),
        service_tiers=tuple(
            (name.lower(), factor.number("what the price is multiplied by, such as 0.5", zero=True))
            for name, factor in factors.items()
        ),
    )


def _read_proxy(node: Node) -> str:
    url = node.text()
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or not url.isprintable() or " " in url:
        node.fail("expected a proxy's URL such as http://proxy.example.com:3128")
    return ProxyUrl(url)


def _read_redis(node: Node) -> str:
    """A password does not stand in a URL: it would be shown wherever the URL is."""
    url = node.text()
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("redis", "rediss", "unix") and bool(parts.hostname or parts.scheme == "unix")
        valid = valid and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or not url.isprintable() or " " in url:
        node.fail("expected a URL such as redis://redis.example.com:6379/0 (rediss:// with TLS)")
    if parts.password or "password=" in parts.query:
        node.fail('holds a password: give it as limits_redis_password: "{{secrets/<scope>/<key>}}"')
    return url


def _read_password(node: Node, store: SecretStore) -> Secret:
    if "{{" not in node.text():
        node.fail("expected a secret reference {{secrets/<scope>/<key>}}, because this file is no place for a password")
    return read_reference(node, store, node.field)


def _read_tables(node: Node) -> str:
    """A folder, which must be absolute because workers on other hosts have other working folders, or a URI."""
    place = node.text().rstrip("/")
    scheme, found, rest = place.partition("://")
    if not (os.path.isabs(place) or (found and scheme.isalnum() and rest)) or not place.isprintable():
        node.fail("expected an absolute folder, or a URI such as s3://bucket/aiq")
    return place


def _read_option(name: str, node: Node, store: SecretStore) -> str | Secret:
    if _SECRET_OPTION.search(name) and "{{" not in node.raw:
        node.fail("expected a secret reference {{secrets/<scope>/<key>}}, because this file is no place for a secret")
    if isinstance(node.value, bool):
        return "true" if node.value else "false"
    return read_reference(node, store, node.field) if "{{" in node.raw else node.raw


def _read_volume(prefix: str, node: Node, folder: str) -> str:
    """Relative paths start at the folder of `aiq.yml`."""
    if not prefix.startswith("/"):
        node.fail("expected a volume such as /Volumes/main/docs/raw before the colon, and a folder behind it")
    return os.path.abspath(os.path.join(folder, os.path.expanduser(node.text())))


def _read_ca_file(node: Node, folder: str) -> str:
    """Relative paths start at the folder of `aiq.yml`."""
    path = os.path.join(folder, os.path.expanduser(node.text()))
    if not os.path.isfile(path):
        node.fail(f"there is no file {path}: expected a PEM file of certificates")
    return path
