"""The `files` argument of `ai_query`: image bytes as a part of a chat message. Must never open a file."""

from __future__ import annotations

import base64
from typing import Any

from aiq.errors import FunctionError

MAX_IMAGE_BYTES = 20 * 1024 * 1024
"""20 MiB, what OpenAI takes for one image."""

_MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def image_part(blob: bytes) -> dict[str, Any]:
    """An OpenAI `image_url` content part that holds the image as a data URL.

    The kind (JPEG, PNG, GIF, WEBP) is told by the first bytes, never by a file name. Raises FunctionError
    AI_FUNCTION_UNSUPPORTED_REQUEST for anything else, for nothing at all and above MAX_IMAGE_BYTES.
    """
    mime = next((mime for magic, mime in _MAGIC if blob.startswith(magic)), None)
    if blob[:4] == b"RIFF" and blob[8:12] == b"WEBP":
        mime = "image/webp"
    if mime is None:
        found = f"begins with the bytes {blob[:8].hex(' ')}" if blob else "is empty"
        raise _unsupported(f"The file {found}; `files` takes JPEG, PNG, GIF and WEBP images.")
    if len(blob) > MAX_IMAGE_BYTES:
        raise _unsupported(f"The {mime} file has {len(blob)} bytes; `files` takes at most 20 MiB a row.")
    url = f"data:{mime};base64,{base64.b64encode(blob).decode('ascii')}"
    return {"type": "image_url", "image_url": {"url": url}}


def _unsupported(message: str) -> FunctionError:
    return FunctionError("AI_FUNCTION_UNSUPPORTED_REQUEST", message)
