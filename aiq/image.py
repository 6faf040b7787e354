"""What an image is, told by its first bytes, and as a part of a chat message. Must never open a file or a socket."""

from __future__ import annotations

import base64

MAX_IMAGE_BYTES = 20 * 1024 * 1024
"""20 MiB, what OpenAI takes for one image."""

_MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def media_type(blob: bytes) -> str | None:
    """`image/jpeg`, `image/png`, `image/gif` or `image/webp`, whatever a name says; None for everything else."""
    if blob[:4] == b"RIFF" and blob[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for magic, mime in _MAGIC if blob.startswith(magic)), None)


def image_data_url(blob: bytes, mime: str) -> str:
    """The image as a `data:` URL."""
    return f"data:{mime};base64,{base64.b64encode(blob).decode('ascii')}"
