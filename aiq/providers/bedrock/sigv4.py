"""AWS Signature Version 4 for the POSTs of one URL, without query. Must never know a clock.

Source: AWS's "Signature Version 4 for API requests". What does not change between two requests is computed once; the
derived key once a day, as the specification binds it to a date.
"""

from __future__ import annotations

import hmac
import time
from hashlib import sha256
from urllib.parse import quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Signer:
    """Signs what is posted to one URL with one key pair."""

    __slots__ = (
        "_at",
        "_canonical",
        "_content_type",
        "_credential",
        "_dated",
        "_day",
        "_host",
        "_key",
        "_key_id",
        "_second",
        "_secret",
        "_signed",
        "_tail",
        "_token",
        "_words",
    )  # fmt: skip

    def __init__(
        self,
        key_id: str,
        secret: str,
        *,
        region: str,
        service: str,
        url: str,
        content_type: str = "application/json",
        session_token: str = "",
    ) -> None:
        """`url` is as it is requested: its path is escaped once already, and is escaped again for the signature.

        `session_token` belongs to a temporary key pair.
        """
        parts = urlsplit(url)
        assert not parts.query, "a query would have to be signed too"
        self._key_id, self._secret, self._content_type = key_id, secret, content_type
        self._host = _host(parts.scheme, parts.hostname or "", parts.port)
        self._canonical = (
            f"POST\n{_canonical_path(parts.path)}\n\ncontent-type:{content_type}\nhost:{self._host}\nx-amz-date:"
        )
        self._token = [("x-amz-security-token", session_token)] if session_token else []
        self._signed = ";".join(["content-type", "host", "x-amz-date", *(name for name, _ in self._token)])
        self._tail = f"/{region}/{service}/aws4_request"
        self._second, self._day, self._key = -1, "", b""
        self._at = self._dated = self._words = self._credential = ""

    def headers(self, body: bytes, now_s: float) -> list[tuple[str, str]]:
        """The headers of a request that is sent at `now_s`, in seconds since 1970."""
        second = int(now_s)
        if second != self._second:
            self._turn(second)
        canonical = f"{self._dated}{sha256(body).hexdigest()}"
        words = f"{self._words}{sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key, words.encode(), "sha256").hex()
        return [
            ("content-type", self._content_type),
            ("x-amz-date", self._at),
            *self._token,
            ("authorization", f"{self._credential}{signature}"),
        ]

    def _turn(self, second: int) -> None:
        """What is the same for all requests of a second, and the key of its day."""
        self._at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        scope = self._at[:8] + self._tail
        if self._at[:8] != self._day:
            self._key = f"AWS4{self._secret}".encode()
            for part in scope.split("/"):
                self._key = hmac.digest(self._key, part.encode(), "sha256")
            self._day = self._at[:8]
        token = "".join(f"{name}:{value}\n" for name, value in self._token)
        self._dated = f"{self._canonical}{self._at}\n{token}\n{self._signed}\n"
        self._words = f"{ALGORITHM}\n{self._at}\n{scope}\n"
        self._credential = f"{ALGORITHM} Credential={self._key_id}/{scope}, SignedHeaders={self._signed}, Signature="
        self._second = second


def _host(scheme: str, host: str, port: int | None) -> str:
    """The header `host` as HTTP clients send it: without the scheme's own port."""
    host = f"[{host}]" if ":" in host else host
    return host if port is None or port == _DEFAULT_PORTS.get(scheme) else f"{host}:{port}"


def _canonical_path(path: str) -> str:
    """The path without empty and dot segments, each segment escaped once more (every service but S3)."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    end = "/" if kept and path.endswith("/") else ""
    return quote(f"/{'/'.join(kept)}{end}", safe="/~")
