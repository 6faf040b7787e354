"""What becomes of links to images in a request: refused where they lead inside, fetched where a provider takes bytes.

Opens no connection itself (`public_web`). Must never know a provider.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from aiq.config.endpoint import Settings
from aiq.errors import PolicyError
from aiq.image import MAX_IMAGE_BYTES, image_data_url
from aiq.policy.addresses import NotPublic
from aiq.policy.image_urls import check_public, image_links, links, shown, with_data
from aiq.request import Request

if TYPE_CHECKING:
    from aiq.transport.public_web import PublicWeb

MAX_IMAGES = 20
"""In one request. All of them together have at most MAX_IMAGE_BYTES."""
MAX_AT_ONCE = 16
"""Requests whose images are being fetched."""
FETCH_TIMEOUT_S = 20.0
"""For all images of a request."""


class ImageRefused(ValueError):
    """An image that is linked cannot be had. Its words name the link and say why."""


class ImageFetcher:
    """Fetches for one gateway, on its event loop."""

    def __init__(self, web: PublicWeb | None = None, *, timeout_s: float = FETCH_TIMEOUT_S) -> None:
        self._web, self._timeout_s = web, timeout_s
        self._turn = asyncio.Semaphore(MAX_AT_ONCE)

    async def settle(self, request: Request, settings: Settings, takes_link: Callable[[str], bool] | None) -> Request:
        """The request, with images instead of the links that its provider does not take. Raises PolicyError (400).

        Links that cannot lead to the public web are refused in any case: a provider would follow them from where it
        stands, and a server of one's own stands inside.
        """
        try:
            for url in links(request.body):
                check_public(url)
            if takes_link is None or not settings.fetch_images:
                return request
            wanted = [url for url in image_links(request.body) if not takes_link(url)]
            if not wanted:
                return request
            return request._replace(body=with_data(request.body, await self.fetch(wanted, settings)))
        except (NotPublic, ImageRefused) as error:
            words = f"The request is refused: {error}."
            raise PolicyError(words, endpoint=request.endpoint, status=400, error_code="BAD_REQUEST") from None

    async def fetch(self, urls: Iterable[str], settings: Settings) -> dict[str, str]:
        """The images as `data:` URLs, by their links. Raises ImageRefused."""
        from aiq.transport.public_web import NoImage, PublicWeb

        wanted = list(dict.fromkeys(urls))
        if len(wanted) > MAX_IMAGES:
            raise ImageRefused(f"a request may link {MAX_IMAGES} images, not {len(wanted)}")
        if settings.proxy is not None:
            raise ImageRefused("images are not fetched where a proxy is set, because it would resolve their names")
        if self._web is None:
            self._web = PublicWeb()
        found: dict[str, str] = {}
        left, url = MAX_IMAGE_BYTES, ""
        try:
            async with self._turn, asyncio.timeout(self._timeout_s):
                for url in wanted:
                    blob, mime = await self._web.image(url, left, settings.ca_file)
                    left -= len(blob)
                    found[url] = image_data_url(blob, mime)
        except (NotPublic, NoImage) as error:
            raise ImageRefused(f"the image {shown(url)} {error}") from None
        except TimeoutError:
            raise ImageRefused(f"the image {shown(url)} did not come within {self._timeout_s:g} s") from None
        return found
