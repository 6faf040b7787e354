"""`aiq.headers` and `aiq.tls` of a served entity: what goes with its requests beside what its provider asks for.

Reads and checks; sends nothing.
"""

from __future__ import annotations

import os
import re

from aiq.config.connections import CustomConfig, ProviderConfig, Secret
from aiq.config.document import Node
from aiq.config.external_fields import read_path
from aiq.config.secrets import PLAINTEXT, SecretStore, read_reference, unsafe_characters
from aiq.config.tls import TlsConfig

CONNECTION_FIELDS = ("headers", "tls")
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
OWN_HEADERS = frozenset(
    ("host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding")
)
"""Those that HTTP itself has for a request."""
_CREDENTIALS = frozenset({
    "authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie",
    "anthropic-version",
})  # fmt: skip
"""Those that carry a provider's own key or version."""
_MOST_HEADERS = 50

Headers = tuple[tuple[str, Secret], ...]


def read_headers(own: dict[str, Node], config: ProviderConfig, store: SecretStore) -> Headers:
    """`headers`: texts, or references to secrets. None is shown or logged.

    The header of a key is refused unless the entity is a `custom` server for which no key is given.
    """
    if "headers" not in own:
        return ()
    members = own["headers"].mapping()
    if len(members) > _MOST_HEADERS:
        own["headers"].fail(f"takes at most {_MOST_HEADERS} headers")
    keyless = isinstance(config, CustomConfig) and config.bearer is None and config.header is None
    used = {config.header[0].lower()} if isinstance(config, CustomConfig) and config.header is not None else set()
    found: list[tuple[str, Secret]] = []
    for name, node in members.items():
        lower = name.lower()
        if not HEADER_NAME.fullmatch(name) or lower in OWN_HEADERS:
            node.fail("is not the name of an HTTP header that can be set")
        if lower in used or ((lower in _CREDENTIALS or lower.startswith("x-amz-")) and not keyless):
            node.fail("belongs to the provider's credential; give it in the provider's section")
        used.add(lower)
        found.append((lower, _value(node, store)))
    return tuple(found)


def _value(node: Node, store: SecretStore) -> Secret:
    text = node.text()
    if "{{" in text:
        return read_reference(node, store, node.field)
    if unsafe_characters(text):
        node.fail(unsafe_characters(text))
    return Secret(text, PLAINTEXT)


def read_tls(own: dict[str, Node]) -> TlsConfig | None:
    """`tls`: PEM files, whose relative paths start at the folder of the endpoint's file."""
    if "tls" not in own:
        return None
    members = own["tls"].fields(("client_certificate", "client_key", "ca_file"))
    if not members:
        own["tls"].fail("expected client_certificate and client_key, or ca_file")
    if "client_key" in members and "client_certificate" not in members:
        members["client_key"].fail("belongs to client_certificate, which is not given")
    paths = {name: _path(node) for name, node in members.items()}
    if "client_certificate" in members and "client_key" not in members:
        paths["client_key"] = paths["client_certificate"]  # one file may hold both
    return TlsConfig(**paths)


def _path(node: Node) -> str:
    path = read_path(node)
    if not os.path.isfile(path):
        node.fail(f"there is no file {path}: expected a PEM file")
    return path
