"""What went wrong below HTTP, in the words of every transport: the host or the setting to look at."""

from __future__ import annotations

from typing import Any

from aiq.errors import ConfigError, ProviderError


def unreachable(error: BaseException, url: str) -> ProviderError:
    """A connection that could not be used. The words come from the operating system, the place from the URL's host."""
    host = url.split("/", 3)[2].rsplit("@", 1)[-1]
    words = _innermost(error)
    return ProviderError(
        f"cannot reach {host}: {words}; check that the provider is up and the endpoint's URL is right",
        kind="network",
        status=503,
    )


def _innermost(error: BaseException) -> str:
    details: Any = getattr(error, "details", None)
    causes = details.get("causes") if isinstance(details, dict) else None
    if causes:
        return str(causes[-1]["message"])
    return str(error) or type(error).__name__


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


def too_large(limit: int) -> ProviderError:
    """An answer of more than `limit` bytes."""
    return ProviderError(
        f"the answer is larger than {limit:,} bytes; raise max_response_bytes in conf/aiq.yml if that is right",
        kind="bad_request",
        status=502,
    )
