"""What an OAuth server grants, wherever it stands. Must never know a socket, a clock or a credential.

Source: RFC 6749, sections 5.1 and 5.2.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from aiq.errors import ErrorKind, ProviderError
from aiq.providers.base import HttpResponse
from aiq.providers.wire.errors import shorten
from aiq.providers.wire.http import kind_of_status
from aiq.providers.wire.waiting import retry_after_s


def token_of(response: HttpResponse, redact: Callable[[str], str]) -> tuple[str, float]:
    """The access token that a response grants, and the seconds it is valid. Raises ProviderError where it grants none.

    `redact` takes secrets out of the server's words.
    """
    try:
        data = orjson.loads(response.body)
    except ValueError:
        data = None
    if response.status == 200 and isinstance(data, dict):
        token, valid_s = data.get("access_token"), data.get("expires_in", 3600)
        if isinstance(token, str) and token and token.isascii() and token.isprintable():
            try:
                valid_s = float(valid_s)
            except (TypeError, ValueError, OverflowError):
                valid_s = 0.0
            if 0 < valid_s < 1e9:
                return token, valid_s
        raise ProviderError("the OAuth server's answer holds no token", kind="bad_answer", status=502)
    words = ""
    if isinstance(data, dict):
        words = " ".join(str(data[name]) for name in ("error", "error_description") if data.get(name))
    status = response.status if response.status != 200 else 502
    kind: ErrorKind = kind_of_status(status)
    if 400 <= status < 500 and status not in (408, 425, 429):
        kind = "auth"
    elif response.status == 200:
        kind = "bad_answer"
    text = shorten(redact(words)) or f"the OAuth server answered HTTP {status}"
    raise ProviderError(text, kind=kind, status=status, retry_after_s=retry_after_s(response))
