"""The `files` argument of `ai_query`: image bytes as a part of a chat message. Must never open a file."""

from __future__ import annotations

from typing import Any

from aiq.errors import FunctionError
from aiq.image import MAX_IMAGE_BYTES, image_data_url, media_type


def image_part(blob: bytes) -> dict[str, Any]:
    """An OpenAI `image_url` content part that holds the image as a data URL.

    The kind (JPEG, PNG, GIF, WEBP) is told by the first bytes, never by a file name. Raises FunctionError
    AI_FUNCTION_UNSUPPORTED_REQUEST for anything else, for nothing at all and above MAX_IMAGE_BYTES.
    """
    mime = media_type(blob)
    if mime is None:
        found = f"begins with the bytes {blob[:8].hex(' ')}" if blob else "is empty"
        raise _unsupported(f"The file {found}; `files` takes JPEG, PNG, GIF and WEBP images.")
    if len(blob) > MAX_IMAGE_BYTES:
        raise _unsupported(f"The {mime} file has {len(blob)} bytes; `files` takes at most 20 MiB a row.")
    return {"type": "image_url", "image_url": {"url": image_data_url(blob, mime)}}


def _unsupported(message: str) -> FunctionError:
    return FunctionError("AI_FUNCTION_UNSUPPORTED_REQUEST", message)
