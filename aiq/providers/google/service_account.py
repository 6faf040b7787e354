"""A Google service account's key file, and the assertions it signs to get access tokens. Must never know a socket, or
show any part of a key.

Source: Google's "Using OAuth 2.0 for server to server applications"; RFC 7523.
"""

from __future__ import annotations

import base64
from typing import Any, NoReturn
from urllib.parse import urlencode, urlsplit

import orjson

from aiq.errors import SecretError
from aiq.providers.base import HttpRequest

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LIFE_S = 3600
"""The longest life that Google lets an assertion have."""
_GOOGLES = frozenset({"oauth2.googleapis.com", "accounts.google.com", "www.googleapis.com"})
"""Hosts of Google's token endpoint."""
_FIELDS = ("client_email", "private_key", "token_uri")


class ServiceAccount:
    """A key that was read. `token_uri` is Google's, or of the host that the served entity itself names."""

    def __init__(self, text: str, *, place: str, api_base: str | None = None) -> None:
        """`text` is the key file; `place` names it in errors. Raises SecretError, which says what is wrong with it."""
        self._place = place
        key = self._parsed(text)
        self.email: str = key["client_email"]
        self.token_uri: str = key["token_uri"]
        self._key_id = key.get("private_key_id")
        self._check_address(api_base)
        self._private_key = self._loaded(key["private_key"])

    def token_request(self, assertion: str) -> HttpRequest:
        """Asks for an access token."""
        body = urlencode({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion})
        headers = [("content-type", "application/x-www-form-urlencoded")]
        return HttpRequest(self.token_uri, headers, body.encode())

    def assertion(self, now_s: float) -> str:
        """A JSON web token, signed with RS256, that says who asks and for what. `now_s` is in seconds since 1970."""
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        header = {"alg": "RS256", "typ": "JWT"}
        if isinstance(self._key_id, str):
            header["kid"] = self._key_id
        issued = int(now_s)
        claims = {
            "iss": self.email, "scope": SCOPE, "aud": self.token_uri, "iat": issued, "exp": issued + LIFE_S
        }  # fmt: skip
        signed = _base64(orjson.dumps(header)) + b"." + _base64(orjson.dumps(claims))
        return (signed + b"." + _base64(self._private_key.sign(signed, PKCS1v15(), SHA256()))).decode()

    def _parsed(self, text: str) -> dict[str, Any]:
        if text.lstrip().startswith("-----BEGIN"):
            self._fail("holds the private key alone; it takes the whole key file of the service account (JSON)")
        try:
            key = orjson.loads(text)
        except ValueError:
            key = None
        if not isinstance(key, dict):
            self._fail("is not JSON; it takes the key file of a service account as Google gives it out")
        kind = key.get("type")
        if kind != "service_account":
            found = f"a credential of type '{kind}'" if kind in _OTHER_TYPES else "no key file of a service account"
            other = ""
            if kind in _OTHER_TYPES[:2]:
                other = "; aiq.google_credentials_file of the served entity takes the path of any other"
            self._fail(f"is {found}; it takes a file in which type is service_account{other}")
        for name in _FIELDS:
            if not isinstance(key.get(name), str) or not key[name]:
                self._fail(f"has no {name}; it takes the key file of a service account as Google gives it out")
        return key

    def _check_address(self, api_base: str | None) -> None:
        """An assertion is as good as the key for an hour, so it goes only to hosts that the endpoint names."""
        try:
            parts = urlsplit(self.token_uri)
        except ValueError:
            self._fail("has a token_uri that is no URL; it takes the key file as Google gives it out")
        if parts.scheme == "https" and parts.netloc in _GOOGLES:
            return
        if api_base is not None:
            own = urlsplit(api_base)
            if (parts.scheme, parts.netloc) == (own.scheme, own.netloc):
                return
        self._fail(
            f"has a token_uri at '{parts.hostname}', which is not Google's (https://oauth2.googleapis.com/token); "
            "another one is used only at the host that aiq.api_base of the served entity names"
        )

    def _loaded(self, pem: str) -> Any:
        try:
            from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
            from cryptography.hazmat.primitives.serialization import load_pem_private_key
        except ImportError:
            self._fail("cannot be used without the package cryptography: pip install 'aiq[vertex]'")
        try:
            key = load_pem_private_key(pem.encode(), None)
        except Exception:  # whatever it says may hold a part of the key
            key = None
        if not isinstance(key, RSAPrivateKey):
            self._fail(
                "has a private_key that cannot be read; it has to be an RSA key as in the file that Google gave out, "
                "with its line ends as \\n"
            )
        return key

    def _fail(self, what: str) -> NoReturn:
        raise SecretError(f"private_key of {self._place} {what}") from None


_OTHER_TYPES = ("authorized_user", "external_account", "external_account_authorized_user", "gdch_service_account")


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
