"""The only place that opens sockets to providers. Knows HTTP, not what it carries.

Two implementations of one protocol: `pyreqwest` (default; Rust, about 35 microseconds of CPU a request) and `httpx`
(for its proxies, certificates or mock transports; tens of times more CPU). `public_web` fetches linked images.
Redirects are never followed: they could carry a credential to another host.
"""

from __future__ import annotations

from aiq.config.endpoint import Settings
from aiq.config.tls import TlsConfig
from aiq.transport.httpx_transport import HttpxTransport
from aiq.transport.protocol import ResponseStream, Transport
from aiq.transport.pyreqwest_transport import PyreqwestTransport

__all__ = ["ResponseStream", "Transport", "open_transport", "transport_settings"]


def open_transport(settings: Settings, tls: TlsConfig | None = None) -> Transport:
    """The transport that the settings ask for. Raises ConfigError for an unusable proxy, CA file or certificate.

    `tls` adds what one served entity has of its own.
    """
    kind = HttpxTransport if settings.transport == "httpx" else PyreqwestTransport
    return kind(settings, tls=tls)


def transport_settings(settings: Settings) -> tuple[object, ...]:
    """What a transport is made from: another value needs another transport."""
    return (
        settings.transport, settings.connect_timeout_s, settings.read_timeout_s, settings.max_response_bytes,
        settings.proxy, settings.ca_file,
    )  # fmt: skip
