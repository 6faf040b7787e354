"""Access tokens of simulated OAuth servers: made from who asks and until when, so that nothing has to be remembered.

Knows no vendor's paths. Source of the form: RFC 6749, "The OAuth 2.0 Authorization Framework", sections 4.4 and 5.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qs

LIFE_S = 3600
"""How long a token is valid, unless the client's id ends with `-<n>s`: then n seconds."""

_LIFE = re.compile(r".*-(\d{1,5})s")


def grant(issuer: str, client: str, now_s: float) -> dict[str, Any]:
    """The answer that grants a token to a client."""
    life = _LIFE.fullmatch(client)
    life_s = int(life[1]) if life else LIFE_S
    ends = int((now_s + life_s) * 1000)  # in milliseconds, so that the shortest lives are whole ones
    token = f"simtoken.{ends}.{_mac(issuer, ends)}"
    return {"access_token": token, "token_type": "Bearer", "expires_in": life_s, "scope": "all"}


def is_token(key: str) -> bool:
    """Whether a key has the form of a token that was granted here, by whomever and whenever."""
    return key.startswith("simtoken.") and key.count(".") == 2


def is_valid(issuer: str, token: str, now_s: float) -> bool:
    """Whether an issuer granted a token, and it is still good."""
    _, ends, mac = token.split(".")
    return ends.isdigit() and now_s * 1000 < int(ends) and mac == _mac(issuer, int(ends))


def form(body: bytes) -> dict[str, str]:
    """The fields of a form, the last value of each."""
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in fields.items()}


def basic(headers: Mapping[bytes, bytes]) -> tuple[str, str]:
    """Id and secret of `authorization: Basic`, empty where there are none."""
    value = headers.get(b"authorization", b"")
    if value[:6].lower() != b"basic ":
        return "", ""
    try:
        name, _, secret = b64decode(value[6:], validate=True).decode("utf-8", "replace").partition(":")
    except Error:
        return "", ""
    return name, secret


def _mac(issuer: str, ends: int) -> str:
    return blake2b(f"{issuer}\0{ends}".encode(), digest_size=12, key=b"aiq-simulator").hexdigest()
