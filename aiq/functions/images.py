"""The `files` argument of `ai_query`: an image, a PDF or a recording as a part of a message. Must never open a file."""

from __future__ import annotations

import base64
from typing import Any

from aiq.errors import FunctionError
from aiq.image import MAX_IMAGE_BYTES, image_data_url, media_type

_MP3 = (b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xfa")
_KINDS = "JPEG, PNG, GIF and WEBP images, PDF, and WAV and MP3 recordings"


def file_part(blob: bytes) -> dict[str, Any]:
    """A content part in OpenAI's form: `image_url`, `file` (a PDF) or `input_audio`.

    The kind is told by the first bytes, never by a file name. Raises FunctionError AI_FUNCTION_UNSUPPORTED_REQUEST for
    anything else, for nothing at all and above MAX_IMAGE_BYTES. Whether a provider takes it is the provider's to say.
    """
    mime, audio = media_type(blob), _audio_format(blob)
    is_pdf = blob.startswith(b"%PDF-")
    if mime is None and audio is None and not is_pdf:
        found = f"begins with the bytes {blob[:8].hex(' ')}" if blob else "is empty"
        raise _unsupported(f"The file {found}; `files` takes {_KINDS}.")
    if len(blob) > MAX_IMAGE_BYTES:
        kind = mime or audio or "pdf"
        raise _unsupported(f"The {kind} file has {len(blob)} bytes; `files` takes at most 20 MiB a row.")
    if mime is not None:
        return {"type": "image_url", "image_url": {"url": image_data_url(blob, mime)}}
    if is_pdf:
        data = image_data_url(blob, "application/pdf")
        return {"type": "file", "file": {"filename": "document.pdf", "file_data": data}}
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(blob).decode("ascii"), "format": audio}}


def _audio_format(blob: bytes) -> str | None:
    if blob[:4] == b"RIFF" and blob[8:12] == b"WAVE":
        return "wav"
    return "mp3" if blob.startswith(_MP3) else None


def _unsupported(message: str) -> FunctionError:
    return FunctionError("AI_FUNCTION_UNSUPPORTED_REQUEST", message)
