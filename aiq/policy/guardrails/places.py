"""The places of a request or an answer where text can stand: everywhere but where this file says why not.

A new parameter is read unless it is listed here. `walk` never changes what it is given: what is rewritten is a copy as
far up as needed. Knows OpenAI's and the providers' names of members, and nothing of what is looked for.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from aiq.policy.guardrails.masking import edit_json, edit_value


class Piece(NamedTuple):
    """A text that stands somewhere.

    `fixed`: a label in its place would change what the request asks for, so that it can only be refused.
    `opaque`: an id or a link, whose runs of digits are no phone numbers and no accounts. `place` is fit for an error.
    """

    text: str
    fixed: bool = False
    opaque: bool = False
    place: str = "text"


Visit = Callable[[Piece], str]

_WORDS: dict[str, frozenset[str]] = {
    "role": frozenset(("system", "developer", "user", "assistant", "tool", "function", "model")),
    "type": frozenset((
        "text", "input_text", "output_text", "refusal", "image_url", "input_image", "image", "input_audio", "audio",
        "file", "input_file", "document", "video", "message", "function", "function_call", "function_call_output",
        "tool_use", "tool_result", "reasoning", "thinking", "redacted_thinking", "summary_text", "reasoning_text",
        "json_schema", "json_object", "object", "array", "string", "number", "integer", "boolean", "null",
        "ephemeral", "base64", "url", "enabled", "disabled", "auto", "any", "none", "tool", "search_result",
        "url_citation", "custom", "content", "citation", "chat",
    )),
    "detail": frozenset(("auto", "low", "high")),
    "format": frozenset((
        "wav", "mp3", "flac", "opus", "pcm16", "json", "text", "date", "date-time", "time", "duration", "email",
        "hostname", "ipv4", "ipv6", "uuid", "uri",
    )),
    "finish_reason": frozenset(("stop", "length", "tool_calls", "content_filter", "function_call", "end_turn")),
    "object": frozenset((
        "chat.completion", "text_completion", "response", "list", "embedding", "chat.completion.chunk",
    )),
    "tool_choice": frozenset(("auto", "none", "required", "any")),
    "function_call": frozenset(("auto", "none")),
    "reasoning_effort": frozenset(("none", "minimal", "low", "medium", "high", "xhigh")),
    "effort": frozenset(("none", "minimal", "low", "medium", "high", "xhigh")),
    "verbosity": frozenset(("low", "medium", "high")),
    "service_tier": frozenset(("auto", "default", "flex", "priority", "standard", "scale")),
    "truncation": frozenset(("auto", "disabled", "NONE", "START", "END")),
    "encoding_format": frozenset(("float", "base64")),
    "input_type": frozenset(("search_document", "search_query", "classification", "clustering", "query", "passage")),
    "modalities": frozenset(("text", "audio")),
    "status": frozenset(("completed", "incomplete", "in_progress")),
}  # fmt: skip
"""Words of the protocol, by member: with one of these values it is control. With any other value it is read."""

_IDS = frozenset((
    "id", "tool_call_id", "call_id", "item_id", "tool_use_id", "file_id", "previous_response_id", "container", "name",
    "model", "system_fingerprint", "object", "media_type", "mime_type", "mimeType", "filename", "type", "role",
    "format", "detail", "encoding", "finish_reason", "signature", "encrypted_content", "thoughtSignature", *_WORDS,
))  # fmt: skip
"""What refers to something: with another value it would refer to something else."""
_LINKS = frozenset((
    "url", "uri", "image_url", "file_url", "video_url", "audio_url", "fileUri", "file_uri", "gcsUri", "s3Uri",
))  # fmt: skip
_FIXED = frozenset((
    "stop", "stop_sequences", "stopSequences", "enum", "const", "default", "pattern", "required", "$ref", "grammar",
    "regex", "guided_choice", "guided_regex", "guided_grammar",
))  # fmt: skip
"""Text that rules what may be answered, or how a prompt is built."""
_MEDIA = frozenset(("data", "bytes", "file_data", "b64_json", *_LINKS))
"""Where images, audio and files stand as base64. What decodes to text is read."""
_ARGUMENTS = frozenset(("arguments", "args"))
_USERS = frozenset(("user", "safety_identifier", "prompt_cache_key"))
_COUNTS = frozenset((
    "seed", "created", "created_at", "completed_at", "index", "max_tokens", "max_completion_tokens",
    "max_output_tokens", "budget_tokens", "prompt_tokens", "completion_tokens", "total_tokens",
))  # fmt: skip
"""Numbers that count or choose, and are not shown to a model."""
_KEYS = frozenset((
    "messages", "content", "prompt", "suffix", "input", "instructions", "text", "tools", "tool_calls", "function",
    "parameters", "properties", "description", "title", "items", "schema", "json_schema", "response_format", "strict",
    "additionalProperties", "anyOf", "allOf", "oneOf", "not", "$defs", "definitions", "choices", "message", "usage",
    "reasoning_content", "reasoning", "refusal", "annotations", "citations", "search_results", "metadata", "documents",
    "system", "thinking", "file", "image", "audio", "source", "cache_control", "temperature", "top_p", "top_k", "n",
    "stream", "stream_options", "include_usage", "store", "parallel_tool_calls", "frequency_penalty",
    "presence_penalty", "logit_bias", "top_logprobs", "dimensions", "input_audio", "image_url", "input_schema",
    "dataframe_split", "dataframe_records", "inputs", "instances", "columns", "params", "include", "extra_params",
    "summary", "web_search_options", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "nullable",
    "prompt_tokens_details", "completion_tokens_details", "cached_tokens", "reasoning_tokens", "output",
    "incomplete_details", "error", "code", "param", "video", "embedding", "data", "logprobs",
    *_IDS, *_LINKS, *_FIXED, *_MEDIA, *_ARGUMENTS, *_USERS, *_COUNTS,
))  # fmt: skip
"""Names of members that are the protocol's. Any other name is a user's text."""

_ID = re.compile(r"(?=[^\s]*[A-Za-z])[\w.:/@#+=-]{1,4096}", re.ASCII)
_LINK = re.compile(r"(?:https?|gs|s3|file)://[!-~]+", re.IGNORECASE)
_SIGNS = re.compile(r"([/?&=#;,]+)")
_DATA = re.compile(r"data:([\w.+-]*/?[\w.+-]*)((?:;[\w.=+-]+)*),", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_MAGIC = (
    b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\x00", b"MM\x00*", b"%PDF", b"PK\x03\x04", b"ID3",
    b"OggS", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\x1a\x45\xdf\xa3", b"\xd0\xcf\x11\xe0", b"\x1f\x8b",
)  # fmt: skip
"""How images, audio, video and documents begin; of mp4, the word `ftyp` after four bytes."""
_LEAST_NUMBER = 10_000_000
"""Fewer than eight digits are no personal data by themselves."""


def walk(value: Any, visit: Visit, *, name: str = "", free: bool = False, json_text: bool = False) -> Any:
    """The value with every text as `visit` gives it back; the very same object where nothing changed.

    `free`: names of members mean nothing (a model's own inputs). `json_text`: texts are JSON, but for what is none.
    Raises RecursionError for what is nested too deeply.
    """
    if isinstance(value, str):
        edited = _text(value, visit, "" if free else name, json_text)
        return value if edited == value else edited
    if isinstance(value, dict):
        if name in _ARGUMENTS and not free:
            return edit_value(value, lambda text: visit(Piece(text)))
        members: dict[str, Any] = {}
        same = True
        for key, member in value.items():
            label = named = key if key in _KEYS else visit(Piece(key, fixed=True, place="the name of a member"))
            while label in members:  # two names with one label are still two members
                label = f"{named} {len(members) + 1}"
            members[label] = walk(member, visit, name=key, free=free, json_text=json_text)
            same = same and label == key and members[label] is member
        return value if same else members
    if isinstance(value, list):
        items = [walk(item, visit, name=name, free=free, json_text=json_text) for item in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    if isinstance(value, int | float) and abs(value) >= _LEAST_NUMBER and (free or name not in _COUNTS):
        written = str(value)
        edited = visit(Piece(written, fixed=True, opaque=True, place="a number"))
        return value if edited == written else edited
    return value


def _text(text: str, visit: Visit, name: str, json_text: bool) -> str:
    if text in _WORDS.get(name, ()):
        return text
    if name in _MEDIA:
        media = _media(text, visit, name)
        if media is not None:
            return media
    if name in _LINKS and _LINK.fullmatch(text):
        return _link(text, visit, fixed=True, place=f"`{name}`")
    if name in _IDS or name in _LINKS:
        return visit(Piece(text, fixed=True, opaque=_ID.fullmatch(text) is not None, place=f"`{name}`"))
    if name in _USERS:
        return visit(Piece(text, opaque=_ID.fullmatch(text) is not None, place=f"`{name}`"))
    if name in _FIXED:
        return visit(Piece(text, fixed=True, place=f"`{name}`"))
    if name == "citations" and _LINK.fullmatch(text):
        return _link(text, visit, fixed=False, place=f"`{name}`")
    if json_text or name in _ARGUMENTS:
        return edit_json(text, lambda part: visit(Piece(part)))
    return visit(Piece(text))


def _link(text: str, visit: Visit, *, fixed: bool, place: str) -> str:
    """A link, read part by part: what stands between its signs may be an address, all of it is none."""
    parts = [(part, unquote(part)) for part in _SIGNS.split(text)]
    edited = [visit(Piece(plain, fixed, True, place)) for _, plain in parts]
    return "".join(part if new == plain else new for (part, plain), new in zip(parts, edited, strict=True))


def _media(text: str, visit: Visit, name: str) -> str | None:
    """Base64 as it may be sent: what holds text is read, and written again. None for what is no base64."""
    head = _DATA.match(text)
    if head is None and not _BASE64.fullmatch(text):
        return None
    start = 0 if head is None else head.end()
    if head is not None and not head[2].lower().endswith(";base64"):
        plain = unquote(text[start:])
        edited = visit(Piece(plain, place=f"`{name}`"))
        return text if edited == plain else text[:start] + quote(edited)
    try:
        if _is_binary(base64.b64decode(text[start : start + 64].translate(_URL_SAFE) + "==")):
            return text
        data = base64.b64decode(text[start:].translate(_URL_SAFE) + "==")
    except ValueError:
        return None
    try:
        plain = data.decode()
    except UnicodeDecodeError:
        # Bytes without a known beginning: an image or a sound where a data URL says so.
        return text if head is not None and not head[1].lower().startswith("text/") else None
    edited = visit(Piece(plain, place=f"`{name}`"))
    return text if edited == plain else text[:start] + base64.b64encode(edited.encode()).decode()


def _is_binary(data: bytes) -> bool:
    """A text may begin with a letter or two of these, so a byte that no text has must follow."""
    known = data.startswith(_MAGIC) or data[4:8] == b"ftyp"
    return data.startswith(b"%PDF-") or (known and any(byte < 9 or byte > 126 for byte in data))


_URL_SAFE = str.maketrans("-_", "+/")
