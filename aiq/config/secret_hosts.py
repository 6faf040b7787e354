"""Where a secret may be sent: to the hosts that its user bound it to, and over plain http to this machine only.

`<home>/secrets/<scope>/<key>.hosts` binds it, a host a line (`api.openai.com`, `*.openai.azure.com`). Reads no wire
format and opens no connection.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from aiq.config.cloud import AwsCredentials, AzureCredentials, GoogleCredentials
from aiq.config.connections import EntraConfig, Secret
from aiq.config.endpoint import ServedEntity, Settings
from aiq.errors import SecretError

_OFFICIAL = {
    "openai": ("*.openai.com", "*.openai.azure.com", "*.cognitiveservices.azure.com", "*.services.ai.azure.com"),
    "azure": ("*.azure.com", "*.microsoft.com", "login.microsoftonline.com", "login.microsoftonline.us"),
    "anthropic": ("*.anthropic.com",),
    "cohere": ("*.cohere.com", "*.cohere.ai"),
    "ai21": ("*.ai21.com",),
    "gemini": ("*.googleapis.com",),
    "google": ("*.googleapis.com",),
    "vertex": ("*.googleapis.com",),
    "palm": ("*.googleapis.com",),
    "bedrock": ("*.amazonaws.com", "*.amazonaws.com.cn"),
    "aws": ("*.amazonaws.com", "*.amazonaws.com.cn"),
    "databricks": ("*.databricks.com", "*.azuredatabricks.net", "*.databricks.us"),
    "mistral": ("*.mistral.ai",),
    "groq": ("*.groq.com",),
    "deepseek": ("*.deepseek.com",),
    "openrouter": ("openrouter.ai",),
    "together": ("*.together.xyz", "*.together.ai"),
    "fireworks": ("*.fireworks.ai",),
    "xai": ("*.x.ai",),
}
"""Hosts of the providers whose name a secret's name may contain."""


_AZURES = ("openai", "cognitiveservices", "services.ai")
_TOPS = ("com", "us", "cn")
"""Of Azure's clouds: the public one, the American government's, China's."""


def secrets_of(entity: ServedEntity) -> Iterator[Secret]:
    """The secrets that a call of the entity needs."""
    return (secret for secret, _ in _sent((entity.config, entity.headers), ""))


_CLOUDS: dict[type, tuple[str, tuple[str, ...]]] = {
    AwsCredentials: ("AWS", _OFFICIAL["aws"]),
    GoogleCredentials: ("Google", _OFFICIAL["google"]),
    AzureCredentials: (
        "Azure",
        (*(f"*.{name}.azure.{top}" for name in _AZURES for top in _TOPS), "*.azure-api.net"),
    ),
}
"""Hosts of the clouds whose SDKs find credentials on a machine."""


def check_hosts(entity: ServedEntity, address: str, settings: Settings) -> None:
    """Raises SecretError where a secret would be sent to a host that it must not reach. Sends and reveals nothing.

    `address` is the URL that the entity is asked at. What a cloud's SDK finds on the machine goes to that cloud, as no
    file of its user's binds it to hosts.
    """
    cloud = _CLOUDS.get(type(getattr(entity.config, "credentials", None)))
    if cloud is not None:
        parts = urlsplit(address)
        host = (parts.hostname or "").lower()
        if not is_loopback(host) and not _matches(host, (*cloud[1], *settings.credential_hosts)):
            raise SecretError(
                f"'{entity.name}' would use this machine's own credentials of {cloud[0]} at {host}, which is no host "
                f"of {cloud[0]}. Correct the address, or allow it in conf/aiq.yml: credential_hosts: [{host}]"
            )
        if parts.scheme != "https" and not is_loopback(host) and not _matches(host, settings.plain_http_hosts):
            raise SecretError(
                f"'{entity.name}' would use this machine's own credentials of {cloud[0]} at {host} over plain http, "
                f"where others can read it. Use https, or allow it in conf/aiq.yml: plain_http_hosts: [{host}]"
            )
    for secret, url in _sent((entity.config, entity.headers), address):
        check_secret(secret, url, entity.name, settings)


def check_secret(secret: Secret, url: str, sender: str, settings: Settings) -> None:
    """Raises SecretError where a secret must not reach the host of a URL. `sender` is who would send it there."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    bound = secret.hosts()
    if bound is not None and not _matches(host, bound):
        raise SecretError(
            f"{secret.source} is bound to {', '.join(bound) or 'no host'}, and '{sender}' would send it to "
            f"{host}. Correct the address, or add the host to the file <home>/{secret.source}.hosts"
        )
    is_plain = parts.scheme not in ("https", "smtps")
    if is_plain and not is_loopback(host) and not _matches(host, settings.plain_http_hosts):
        raise SecretError(
            f"'{sender}' would send {_named(secret)} to {host} over plain {parts.scheme}, where others can read it. "
            f"Use {parts.scheme}s, or allow it in conf/aiq.yml: plain_http_hosts: [{host}]"
        )


def warnings_of(entity: ServedEntity, address: str) -> list[str]:
    """What looks wrong about where secrets go: one with a provider's name that goes to another host."""
    found = []
    for secret, url in _sent((entity.config, entity.headers), address):
        host = (urlsplit(url).hostname or "").lower()
        words = secret.source.lower().removeprefix("secrets/").replace("/", "_").replace("-", "_").split("_")
        named = [name for name in _OFFICIAL if name in words]
        if not named or is_loopback(host) or secret.hosts() is not None:
            continue
        if not any(_matches(host, _OFFICIAL[name]) for name in named):
            found.append(
                f"{secret.source} is sent to {host}, which is no host of {named[0]}. If that is wanted, say so in "
                f"<home>/{secret.source}.hosts, a host a line; otherwise correct the address of '{entity.name}'"
            )
    return list(dict.fromkeys(found))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _named(secret: Secret) -> str:
    return secret.source if secret.source.startswith("secrets/") else "its key"


def _sent(value: object, url: str) -> Iterator[tuple[Secret, str]]:
    """Each secret in a configuration, with where it is sent."""
    if isinstance(value, Secret):
        yield value, url
    elif isinstance(value, tuple):
        for part in value:
            yield from _sent(part, url)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _sent(getattr(value, field.name), value.authority if isinstance(value, EntraConfig) else url)


def _matches(host: str, patterns: tuple[str, ...]) -> bool:
    """`*.a.com` stands for a.com and all hosts below it."""
    return any(fnmatchcase(host, pattern) or pattern == f"*.{host}" for pattern in map(str.lower, patterns))
