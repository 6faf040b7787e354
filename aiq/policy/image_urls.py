"""Links in a request that its provider, or the gateway, would follow: which there are, and whether they are public.

Must never follow one. Links to a cloud's own storage (gs:, s3:) are opened with the provider's rights and left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from aiq.policy.addresses import NotPublic, web_address

_FIELDS = ("image_url", "file_url", "video_url", "audio_url")
"""Where a part of a message has its link: as text, or as `url` of an object."""
_OTHER_FIELDS = re.compile(r"ur[li]$|^file_data$", re.IGNORECASE)
"""Where parts in a provider's own form may have one (`source.url`, `fileUri`), next to members that are none."""
_LINK = re.compile(r"\s*([a-z][a-z0-9+.-]*:|[/\\]{2})", re.IGNORECASE)
_STORAGE = ("data:", "gs:", "s3:")
_DEEPEST = 8
MAX_SHOWN = 80


def links(body: Mapping[str, Any]) -> list[str]:
    """The links in the messages of a chat or of an agent's input, but for data and cloud storage."""
    return [url for part in _parts(body) for url in _links_of(part, 0) if not url.lower().startswith(_STORAGE)]


def image_links(body: Mapping[str, Any]) -> list[str]:
    """Those of them that are an image's, in OpenAI's form."""
    values = [part.get("image_url") for part in _parts(body)]
    urls = [value.get("url") if isinstance(value, dict) else value for value in values]
    return [url for url in urls if isinstance(url, str) and not url.lower().startswith(_STORAGE)]


def has_parts(body: Mapping[str, Any]) -> bool:
    """Whether a chat's messages have more than text in them. Most have not, and this is asked of every row."""
    for name in ("messages", "input"):
        items = body.get(name)
        if type(items) is list:
            for item in items:
                if type(item) is dict and type(item.get("content")) is list:
                    return True
    return False


def check_public(url: str) -> None:
    """Raises NotPublic, with the link in its words, where one cannot lead to the public web."""
    try:
        web_address(url)
    except NotPublic as error:
        raise NotPublic(f"the link {shown(url)} {error}") from None


def shown(url: str) -> str:
    """A link for an error: without its query, which may be a signature, and printable."""
    plain = url.partition("?")[0].partition("#")[0]
    plain = plain.rpartition("@")[2] if "@" in plain else plain
    text = "".join(character if character.isprintable() else "?" for character in plain)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def with_data(body: dict[str, Any], found: Mapping[str, str]) -> dict[str, Any]:
    """The body with `data:` URLs instead of the links that were found. The body itself stays as it is."""
    return {**body, **{name: _replaced(body[name], found) for name in ("messages", "input") if name in body}}


def _parts(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("messages", "input"):
        items = body.get(name)
        if type(items) is list:
            for item in items:
                content = item.get("content") if type(item) is dict else None
                if type(content) is list:
                    yield from (part for part in content if type(part) is dict)


def _links_of(value: Any, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise NotPublic("a part of a message is nested too deep to look for links in it")
    if isinstance(value, list):
        for item in value:
            yield from _links_of(item, depth + 1)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(inner, str):
                url = inner.get("url") if key in _FIELDS and isinstance(inner, dict) else None
                if isinstance(url, str) and not _LINK.match(url):
                    yield url
                yield from _links_of(inner, depth + 1)
            elif key in _FIELDS or (_OTHER_FIELDS.search(key) and _LINK.match(inner)):
                yield inner


def _replaced(items: Any, found: Mapping[str, str]) -> Any:
    """A deep copy of what has a link in it; all else is shared."""
    if isinstance(items, list):
        return [_replaced(item, found) for item in items]
    if not isinstance(items, dict):
        return items
    copy = dict(items)
    for name, value in items.items():
        if name == "image_url" and isinstance(value, str):
            copy[name] = found.get(value, value)
        elif name == "image_url" and isinstance(value, dict) and isinstance(value.get("url"), str):
            copy[name] = {**value, "url": found.get(value["url"], value["url"])}
        elif name == "content" and isinstance(value, list):
            copy[name] = _replaced(value, found)
    return copy
