"""Fields that several providers' sections have in common: keys, addresses, regions, names that go into a URL.

Reads and checks; knows no provider.
"""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from aiq.config.connections import Secret
from aiq.config.document import Node
from aiq.config.secrets import SecretStore, read_secret

Members = dict[str, Node]

_URL_NAME = re.compile(r"[A-Za-z0-9._-]+")
_REGION = re.compile(r"[a-z0-9-]{2,32}")


def read_key(node: Node, members: Members, name: str, store: SecretStore, *, document: bool = False) -> Secret:
    key = read_secret(node, members, name, store, document=document)
    if key is None:
        node.missing(name, f"give exactly one of {name} and {name}_plaintext")
    return key


def read_api_base(own: Members) -> str | None:
    """The address of a proxy or a simulator, in `aiq` of the served entity."""
    return read_url(own["api_base"], query=False).rstrip("/") if "api_base" in own else None


def read_region(node: Node) -> str:
    region = node.text()
    if not _REGION.fullmatch(region):
        node.fail("takes lower-case letters, digits and -")
    return region


def read_path(node: Node) -> str:
    """A file's path, which starts at the folder of the file that names it unless it is a whole one."""
    return os.path.join(os.path.dirname(node.file), os.path.expanduser(node.text()))


def read_url(node: Node, *, query: bool = True) -> str:
    """An http or https URL, where `query` is true with a query. Never shown in an error: it may carry a password."""
    url = node.text()
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or not url.isprintable() or " " in url or parts.fragment:
        node.fail("expected a URL such as https://host/v1")
    if parts.query and not query:
        node.fail("must not have a query (?...), because a path is added to it")
    if "@" in parts.netloc:
        node.fail("must not carry a user or a password; use the fields for keys and tokens")
    return url


def url_name(node: Node | None) -> str | None:
    """A name that becomes a part of a URL."""
    if node is None:
        return None
    name = node.text()
    if not _URL_NAME.fullmatch(name):
        node.fail("takes letters, digits, ., - and _")
    return name
