"""What went wrong below HTTP, in the words of every transport: the host or the setting to look at."""

from __future__ import annotations

import re
import ssl
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from aiq.config.local import starting_command
from aiq.config.tls import TlsConfig
from aiq.errors import ConfigError, ProviderError

_CUT = re.compile(r"before message length reached|complete message body|decoding response body|EOF during chunk", re.I)
_OURS = re.compile(
    r"alert:? ?(unknown ?ca|bad ?certificate|certificate ?(required|expired|revoked|unknown)|unsupported ?certificate"
    r"|access ?denied)\b",
    re.IGNORECASE,
)
"""What a server says of the certificate that a client shows, or does not show."""
_CERTIFICATE = re.compile(
    r"certificate|unknown ?issuer|self.signed|not ?valid ?for ?name|hostname mismatch", re.IGNORECASE
)


def unreachable(error: BaseException, url: str, proxy: str | None = None) -> ProviderError:
    """A connection that could not be used. The words come from the operating system, the place from the URL's host.

    `proxy` is the proxy's URL that leads there by the settings; None for that of the environment, if there is one.
    """
    host, words, through = _host(url), _innermost(error), proxy or _proxy_of_environment(url)
    if _CUT.search(words):
        return broken_off(error, url)
    if _OURS.search(words):
        return ProviderError(
            f"{host} does not take our client certificate: {words}; check client_certificate and client_key under "
            "aiq.tls of the served entity",
            kind="certificate",
            status=502,
        )
    if _CERTIFICATE.search(words):
        return ProviderError(
            f"the certificate of {host} is not to be trusted: {words}; set ca_file in conf/aiq.yml if its authority is "
            "your own",
            kind="certificate",
            status=502,
        )
    if through is not None:
        where = "proxy in conf/aiq.yml" if proxy else "HTTP_PROXY, HTTPS_PROXY and NO_PROXY in the environment"
        words = f"cannot reach {host} through the proxy {_host(through)}: {words}; check the proxy ({where})"
    else:
        address = urlsplit(url)
        command = starting_command(address.hostname, address.port)
        what = f"`{command}` starts it" if command else "check that the provider is up and the endpoint's URL is right"
        words = f"cannot reach {host}: {words}; {what}"
    return ProviderError(words, kind="network", status=503)


def broken_off(error: BaseException, url: str) -> ProviderError:
    """A connection that ended in the middle of an answer."""
    return ProviderError(f"the answer of {_host(url)} broke off: {_innermost(error)}", kind="network", status=502)


def _host(url: str) -> str:
    return url.split("/", 3)[2].rsplit("@", 1)[-1]


def _proxy_of_environment(url: str) -> str | None:
    parts = urlsplit(url)
    proxies = getproxies()
    if proxy_bypass(parts.hostname or ""):
        return None
    found = proxies.get(parts.scheme) or proxies.get("all")
    return found if found is None or "://" in found else f"http://{found}"


def _innermost(error: BaseException) -> str:
    details: Any = getattr(error, "details", None)
    causes = details.get("causes") if isinstance(details, dict) else None
    if causes:
        return str(causes[-1]["message"])
    cause: BaseException | None = error
    while cause is not None and not str(cause):
        cause = cause.__cause__ or cause.__context__
    return str(cause) if cause is not None else type(error).__name__


def timed_out(timeout_s: float, read_timeout_s: float) -> ProviderError:
    """No answer in time, in seconds: of the whole request, or between two reads."""
    name = "timeout_s" if timeout_s <= read_timeout_s else "read_timeout_s"
    return ProviderError(
        f"no answer within {min(timeout_s, read_timeout_s):g} s; raise {name} in conf/aiq.yml if the model needs more",
        kind="timeout",
        status=504,
    )


def unusable_settings(error: Exception) -> ConfigError:
    """A proxy or a CA file that the HTTP client does not take."""
    return ConfigError(f"the HTTP client cannot be built: {error}; check proxy and ca_file", file="conf/aiq.yml")


def check_tls(tls: TlsConfig, context: ssl.SSLContext) -> None:
    """Loads an entity's TLS files into a context. Raises ConfigError, naming the file."""
    try:
        place = tls.ca_file
        if tls.ca_file:
            context.load_verify_locations(tls.ca_file)
        if tls.client_certificate:
            place = tls.client_certificate
            # An encrypted key would be asked for at the terminal.
            context.load_cert_chain(tls.client_certificate, tls.client_key, password=lambda: "")
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise ConfigError(
            f"{place} cannot be used: {error}; tls of a served entity takes PEM files: client_certificate with its "
            "chain, client_key that belongs to it and is not encrypted, ca_file"
        ) from None


def too_large(limit: int) -> ProviderError:
    """An answer of more than `limit` bytes."""
    return ProviderError(
        f"the answer is larger than {limit:,} bytes; raise max_response_bytes in conf/aiq.yml if that is right",
        kind="bad_request",
        status=502,
    )
