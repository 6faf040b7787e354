"""Screens requests after they were admitted and before they are sent: guardrails, then links to images.

Refuses, masks, or puts images in place of links; it does not know which entity is asked, or a wire format.
"""

from __future__ import annotations

import orjson

from aiq.config.endpoint import Settings
from aiq.errors import GuardrailBlocked, PolicyError
from aiq.gateway.image_links import ImageFetcher
from aiq.gateway.recording import Recorder
from aiq.gateway.routes import Route
from aiq.gateway.trace import Trace
from aiq.policy.image_urls import has_parts
from aiq.request import Request, text_characters


class Screening:
    """Screens the requests of one gateway. On its event loop."""

    def __init__(self, recorder: Recorder, images: ImageFetcher) -> None:
        self._recorder, self._images = recorder, images

    @staticmethod
    def wanted(route: Route, request: Request) -> bool:
        """Whether there is anything to look at. Asked of every row, most of which are one text."""
        return (route.guards is not None and route.guards.input_active) or has_parts(request.body)

    async def screened(self, route: Route, request: Request, trace: Trace, settings: Settings) -> Request:
        """The request as it may be sent. Raises GuardrailBlocked and PolicyError, with a row in the ledger."""
        if route.guards is not None and route.guards.input_active:
            request = await self._guarded(route, request, trace)
        if not has_parts(request.body):
            return request
        try:
            linked = await self._images.settle(request, settings, route.takes_link)
        except PolicyError as refusal:
            self._recorder.refused(route, request, trace, refusal)
            raise
        if linked is not request:  # the log shows what was asked
            trace.request_json, trace.characters = orjson.dumps(request.body).decode(), text_characters(request.body)
        return linked

    async def _guarded(self, route: Route, request: Request, trace: Trace) -> Request:
        assert route.guards is not None
        try:
            checked = await route.guards.check_input(request)
        except GuardrailBlocked as blocked:
            trace.guards = tuple(f"input:{finding}" for finding in blocked.findings)
            trace.request_json = blocked.blocked or trace.request_json
            self._recorder.refused(route, request, trace, blocked)
            raise
        trace.guards = tuple(f"input:{finding}" for finding in checked.acted)
        trace.request_json = None
        return checked.request
