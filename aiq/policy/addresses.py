"""Which addresses a URL that a user wrote may lead to: public ones, in every notation. Must never resolve a name.

Sources: IANA's special-purpose address registries; the WHATWG URL standard ("IPv4 parser", "ends in a number checker")
for the notations that clients understand.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

_V4_CLOSED = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # shared by carriers, and some clouds' metadata
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's platform, public by its number only
            "169.254.0.0/16",  # link-local, with the clouds' metadata
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
_V6_OPEN = IPv6Network("2000::/3")
"""Global unicast. Outside it, and so closed: loopback, mapped and compatible IPv4, NAT64, site- and link-local,
unique local and multicast addresses."""
_V6_CLOSED = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, with Teredo
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: an IPv4 address inside
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)
_ISATAP = (0x00005EFE, 0x02005EFE)
"""The upper half of an interface identifier that has an IPv4 address in its lower half."""
_LOCAL_NAMES = ("localhost", "localdomain", "local", "internal", "intranet", "home.arpa")
"""Names that lead to this machine or its network, wherever they are resolved."""


MAX_URL = 8192


class NotPublic(ValueError):
    """A URL does not lead to a public address of the web. Its words say why, after the URL's name."""


class WebAddress(NamedTuple):
    """Where a URL leads. `host` is a name or an address, without brackets; `address` where it is one."""

    scheme: str
    host: str
    port: int
    address: IPv4Address | IPv6Address | None


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of the public internet's, and not another one in disguise."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _V4_CLOSED)
    if address not in _V6_OPEN or any(address in network for network in _V6_CLOSED):
        return False
    return (int(address) >> 32) & 0xFFFFFFFF not in _ISATAP


@lru_cache(maxsize=1024)
def web_address(url: str, *, public: bool = True) -> WebAddress:
    """Where an http or https URL leads, as far as it says so itself. Raises NotPublic.

    Without `public` it may lead inside. A name is not resolved: the code that connects has to check the address that
    it gets.
    """
    if len(url) > MAX_URL:
        raise NotPublic("is too long for a web address")
    if "\\" in url or not url.isprintable() or any(character.isspace() for character in url):
        raise NotPublic("has characters that clients read in different ways")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise NotPublic("is not a URL") from None
    if parts.scheme not in ("http", "https"):
        raise NotPublic("is not a web address")
    if "@" in parts.netloc:
        raise NotPublic("carries a user or a password")
    host = _host(parts.hostname or "")
    address = literal_address(host)
    if not public:
        return WebAddress(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), address)
    if address is None and any(host == name or host.endswith(f".{name}") for name in _LOCAL_NAMES):
        raise NotPublic("leads to this machine or its network")
    if address is None and "." not in host:
        raise NotPublic("leads to a host without a domain")
    if address is not None and not is_public(address):
        raise NotPublic("leads to a private or reserved address")
    return WebAddress(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), address)


def _host(host: str) -> str:
    """A host as clients understand it: escapes undone, wide characters made plain, without a dot at its end."""
    try:
        plain = unquote_to_bytes(host).decode()
    except UnicodeDecodeError:
        raise NotPublic("has a host that cannot be read") from None
    plain = unicodedata.normalize("NFKC", plain).lower().replace("。", ".").rstrip(".")
    if not plain or any(character in " /?#@\\%<>^|" or not character.isprintable() for character in plain):
        raise NotPublic("has a host that cannot be read")
    return plain


def literal_address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is, in any notation; None for a name. Raises NotPublic for a number that is none.

    127.0.0.1 is also 127.1, 2130706433, 0x7f000001 and 0177.0.0.1 to those who open connections.
    """
    if ":" in host:
        try:
            return IPv6Address(host.strip("[]").partition("%")[0])
        except AddressValueError:
            raise NotPublic("has a host that is not an address") from None
    parts = host.split(".")
    if not (parts[-1].isdigit() or _number(parts[-1]) is not None):
        return None
    numbers = [_number(part) for part in parts]
    if len(parts) > 4 or None in numbers:
        raise NotPublic("has a host that is not an address")
    *leading, last = [number for number in numbers if number is not None]
    value = last
    if any(number > 255 for number in leading) or last >= 256 ** (4 - len(leading)):
        raise NotPublic("has a host that is not an address")
    for position, number in enumerate(leading):
        value += number << 8 * (3 - position)
    return IPv4Address(value)


def _number(text: str) -> int | None:
    """A part of an IPv4 address: decimal, octal with a 0 before it, hexadecimal with 0x; None for what is no number."""
    if not text.isascii() or len(text) > 64:
        return None
    try:
        if text.startswith("0x"):
            return int(text[2:], 16) if text[2:].isalnum() else 0 if text == "0x" else None
        return int(text, 8 if text.startswith("0") and len(text) > 1 else 10) if text.isdigit() else None
    except ValueError:
        return None
