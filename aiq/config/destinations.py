"""Where alerts are sent: the `alert_destinations` of `conf/aiq.yml`. Sends nothing, and reveals no secret.

on-call: {webhook: {url: https://chat.example.com/hooks/1}}
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from aiq.config.connections import Secret
from aiq.config.document import Node
from aiq.config.secrets import SecretStore, read_reference

_SECRET_HEADER = re.compile(r"authorization|token|secret|password|key|cookie", re.IGNORECASE)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MAIL = re.compile(r"[^\s@<>,;\"]+@[^\s@<>,;\"]+")
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
MAX_TIMEOUT_S = 120.0


class WebhookUrl(str):
    """A URL whose `repr` shows its host alone: path and query of a webhook may be what lets one in."""

    __slots__ = ()

    def __repr__(self) -> str:
        parts = urlsplit(self)
        return repr(f"{parts.scheme}://{parts.netloc}/...")


@dataclass(frozen=True, slots=True)
class Webhook:
    """A POST of JSON. `body` is what is sent, its texts with {{NAMES}}; None: all that is known."""

    url: str | Secret
    headers: dict[str, str | Secret] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True, slots=True)
class Command:
    """A program, without a shell. It reads the notification as JSON from its standard input."""

    run: tuple[str, ...]
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Smtp:
    """A mail. Without `to` it is for those whose address an alert names."""

    host: str
    sender: str
    to: tuple[str, ...] = ()
    port: int = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password: Secret | None = None


@dataclass(frozen=True, slots=True)
class File:
    """A line of JSON at the end of a file."""

    path: str


@dataclass(frozen=True, slots=True)
class Destination:
    """One destination. `id` is its UUID on Databricks, by which alerts from there name it."""

    name: str
    to: Webhook | Command | Smtp | File
    id: str | None = None


def read_destination(name: str, node: Node, store: SecretStore, folder: str) -> Destination:
    """One entry of `alert_destinations`. Relative paths start at `folder`, that of aiq.yml. Raises ConfigError."""
    members = node.fields((*_READERS, "destination_id"))
    kinds = [kind for kind in _READERS if kind in members]
    if len(kinds) != 1:
        node.fail(f"expected one of {', '.join(_READERS)}")
    number = members.get("destination_id")
    return Destination(name, _READERS[kinds[0]](members[kinds[0]], store, folder), number.text() if number else None)


def _read_webhook(node: Node, store: SecretStore, folder: str) -> Webhook:
    members = node.fields(("url", "headers", "body"))
    url = node.required(members, "url", "where to POST to, or a secret reference to that")
    headers = members["headers"].mapping() if "headers" in members else {}
    if "{{" not in url.raw:
        parts = urlsplit(url.text())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            url.fail("expected a URL such as https://chat.example.com/hooks/1, or {{secrets/<scope>/<key>}}")
        if "@" in parts.netloc:
            url.fail("holds a user or a password: give it as a header, Authorization: {{secrets/<scope>/<key>}}")
    return Webhook(
        read_reference(url, store, "url") if "{{" in url.raw else WebhookUrl(url.text()),
        {name: _read_header(name, value, store) for name, value in headers.items()},
        _plain(members["body"]) if "body" in members else None,
    )


def _read_header(name: str, node: Node, store: SecretStore) -> str | Secret:
    if not _HEADER.fullmatch(name):
        node.fail("is no name of an HTTP header")
    if "{{" in node.raw:
        return read_reference(node, store, name)
    if _SECRET_HEADER.search(name):
        node.fail("expected a secret reference {{secrets/<scope>/<key>}}, because this file is no place for a secret")
    if not node.text().isprintable() or not node.text().isascii():
        node.fail("has a character that an HTTP header cannot carry")
    return node.text()


def _read_command(node: Node, store: SecretStore, folder: str) -> Command:
    members = node.fields(("run", "timeout_s"))
    words = node.required(members, "run", "the program and its arguments, [notify-send, an alert]")
    run = tuple(item.text() for item in words.items())
    if not run:
        words.fail("expected the program and its arguments, [notify-send, an alert]")
    timeout = members["timeout_s"].number("a number of seconds") if "timeout_s" in members else 30.0
    if timeout > MAX_TIMEOUT_S:
        members["timeout_s"].fail(f"expected at most {MAX_TIMEOUT_S:g} seconds")
    return Command(run, timeout)


def _read_smtp(node: Node, store: SecretStore, folder: str) -> Smtp:
    members = node.fields(("host", "port", "from", "to", "security", "user", "password"))
    host = node.required(members, "host", "the mail server").text()
    security = members["security"].choice(("starttls", "tls", "none")) if "security" in members else "starttls"
    password = members.get("password")
    if password is not None and "user" not in members:
        node.missing("user", "is required where there is a password")
    if password is not None and "{{" not in password.raw:
        password.fail("expected a secret reference {{secrets/<scope>/<key>}}, because this file is no place for one")
    to = members.get("to")
    addresses = [] if to is None else to.items() if isinstance(to.value, list) else [to]
    return Smtp(
        host=host,
        sender=_address(node.required(members, "from", "the sender's address")),
        to=tuple(map(_address, addresses)),
        port=members["port"].integer(1, 65535) if "port" in members else _PORTS[security],
        security=cast(Literal["starttls", "tls", "none"], security),
        user=members["user"].text() if "user" in members else None,
        password=read_reference(password, store, "password") if password is not None else None,
    )


def _address(node: Node) -> str:
    if not _MAIL.fullmatch(node.text()):
        node.fail("expected a mail address such as ada@example.com")
    return node.text()


def _read_file(node: Node, store: SecretStore, folder: str) -> File:
    members = node.fields(("path",))
    path = node.required(members, "path", "the file to write to").text()
    return File(os.path.abspath(os.path.join(folder, os.path.expanduser(path))))


def _plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {name: _plain(member) for name, member in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(item) for item in node.value]
    return node.value


_READERS: dict[str, Callable[[Node, SecretStore, str], Webhook | Command | Smtp | File]] = {
    "webhook": _read_webhook,
    "command": _read_command,
    "smtp": _read_smtp,
    "file": _read_file,
}
