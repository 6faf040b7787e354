"""The ASGI application: which path is what, who may, and how every request ends in a reply.

A route is a function of an exchange; what it raises becomes the reply. It knows the gateway and no engine.
"""

from __future__ import annotations

import asyncio
import getpass
import logging
from collections.abc import AsyncGenerator, Awaitable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from aiq.batch.loop import background_loop, submit
from aiq.config.endpoint import Endpoint
from aiq.errors import PolicyError, StatementError
from aiq.gateway import Gateway
from aiq.providers.base import Chunk
from aiq.request import AGENTS_DELTA, AGENTS_ITEM, Caller, new_request_id
from aiq.serve import anthropic, gemini, identity
from aiq.serve.anthropic import ANTHROPIC, AnthropicShape
from aiq.serve.bodies import TAGS, ParsedBody, asked_of
from aiq.serve.changes import ADMINS, is_admin
from aiq.serve.chat_agents import CHAT_AGENT
from aiq.serve.control import ENDPOINTS, PERMISSIONS, control
from aiq.serve.gemini import GEMINI, GeminiShape
from aiq.serve.http import Exchange, Receive, Scope, Send
from aiq.serve.identity import Identity, caller_of
from aiq.serve.metrics import CONTENT_TYPE, Metrics
from aiq.serve.paths import PathTarget, shape_of, target_of
from aiq.serve.refusals import Refusal, refusal_of, unknown_endpoint
from aiq.serve.replies import Events, reply_of
from aiq.serve.responses import RESPONSES
from aiq.serve.shapes import OPENAI, Shape
from aiq.serve.tokens import Tokens
from aiq.telemetry.export import incoming

T = TypeVar("T")
log = logging.getLogger("aiq.serve")

_AGENTS_PARTS: dict[Shape, str] = {RESPONSES: AGENTS_ITEM, CHAT_AGENT: AGENTS_DELTA}
_STREAM = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]


class _Cut(Exception):
    """Ends a connection in the middle of a reply: the only sign of a broken stream that every client sees."""


class App:
    """Serves the endpoints of a gateway over REST. An ASGI application, for one process and any of its event loops."""

    def __init__(self, gateway: Gateway, *, read_only: bool = False) -> None:
        """`read_only` refuses changes of endpoints. Raises LedgerError where the tokens of the home cannot be read."""
        self._gateway, self._read_only = gateway, read_only
        self.tokens = Tokens(gateway.ledger.home)
        self._identity = Identity(self.tokens)
        self._ready: dict[str, Endpoint] = {}
        self._metrics = Metrics()
        gateway.observe(self._metrics.count)
        self.draining = False
        """Whether the server is about to end: `/readyz` then says so."""

    @property
    def endpoints(self) -> list[str]:
        """The names of what is served."""
        return sorted(self._gateway.config.endpoints)

    @property
    def user(self) -> str:
        """Who owns this server: the user of the settings, else of the process."""
        return self._gateway.config.settings.user or getpass.getuser()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One exchange, or the start and the end of the server."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send, new_request_id())
        self._metrics.begun()
        try:
            await self._answer(exchange)
        except _Cut:
            raise
        except Exception as error:
            refused = refusal_of(error)
            if refused.status >= 500 and refused.code == "INTERNAL_ERROR":
                log.error("request %s failed", exchange.tag, exc_info=not isinstance(error, Refusal))
            if exchange.begun:
                raise _Cut from None
            shape = OPENAI if refused.status == 401 else shape_of(exchange.path)  # who has no token learns nothing
            await exchange.reply_json(refused.status, shape.error(refused), refused.headers)
        finally:
            self._metrics.ended()

    @staticmethod
    async def _lifespan(receive: Receive, send: Send) -> None:
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, exchange: Exchange) -> None:
        path = exchange.path
        if (open_to_all := self._open_to_all(exchange)) is not None:
            await open_to_all
            return
        token = self._identity.token_of(exchange)
        caller = caller_of(token)
        if path == "/api/2.0/preview/scim/v2/Me":
            exchange.only("GET")
            headers = identity.workspace_header(self._gateway.config.settings.workspace_id)
            await exchange.reply_json(200, identity.me(token), headers)
        elif path == "/metrics":
            exchange.only("GET")
            if not is_admin(caller, self.user):
                raise Refusal(403, "PERMISSION_DENIED", f"/metrics is for {self.user} and the group {ADMINS}")
            await exchange.reply(200, await asyncio.to_thread(self._metrics.text), [CONTENT_TYPE])
        elif (target := target_of(path)) is not None:
            await self._aimed(exchange, target, caller)
        elif path.startswith((ENDPOINTS, PERMISSIONS)):
            await control(exchange, self._gateway, caller, self.user, read_only=self._read_only)
        else:
            raise Refusal(404, "ENDPOINT_NOT_FOUND", f"there is no {path[:200]} here; see docs/serve.md for the paths")

    def _open_to_all(self, exchange: Exchange) -> Awaitable[None] | None:
        """What needs no token: whether the server lives, and how a client gets one."""
        path = exchange.path
        if path == "/healthz":
            return exchange.reply_json(200, {"status": "ok"})
        if path == "/readyz":
            return exchange.reply_json(503 if self.draining else 200, {"status": "ending" if self.draining else "ok"})
        if path == "/.well-known/databricks-config":
            return exchange.reply_json(200, identity.discovery(exchange, self._gateway.config.settings.workspace_id))
        if path == "/oidc/.well-known/oauth-authorization-server":
            return exchange.reply_json(200, identity.authorization_server(exchange))
        if path == "/oidc/v1/token":
            exchange.only("POST")
            return self._identity.access_token(exchange)
        return None

    async def _aimed(self, exchange: Exchange, target: PathTarget, caller: Caller) -> None:
        """Asks an endpoint, counts what it would be asked, or lists what there is."""
        if target.verb == "models":
            exchange.only("GET")
            await exchange.reply_json(200, self._models(target, caller))
            return
        exchange.only("POST")
        body = await exchange.json()
        name = target.name or body.get("model")
        if not isinstance(name, str) or not name:
            raise Refusal(400, "INVALID_PARAMETER_VALUE", "model must be the name of an endpoint")
        endpoint = await self._opened(name)
        if target.verb == "count":
            if not endpoint.may_query(caller):
                raise Refusal(403, "PERMISSION_DENIED", f"{caller.user} has no CAN_QUERY on endpoint '{name}'")
            assert isinstance(target.shape, AnthropicShape | GeminiShape)
            await exchange.reply_json(200, target.shape.count(body))
            return
        if target.task is None and endpoint.task == "agent/v1/responses" and "messages" not in body:
            target = target._replace(shape=RESPONSES)  # an agent's own form
        elif target.task is None and endpoint.task == "agent/v2/chat":
            target = target._replace(shape=CHAT_AGENT)
        with incoming(exchange.header("traceparent"), exchange.header("tracestate")):
            await self._serve(exchange, endpoint, body, caller, target)

    def _models(self, target: PathTarget, caller: Caller) -> dict[str, Any]:
        """The endpoints that a caller may query, or one of them, as a list of models."""
        seen = [endpoint for endpoint in self._gateway.config.endpoints.values() if endpoint.may_query(caller)]
        listed = [
            {"id": endpoint.name, "object": "model", "created": 0, "owned_by": "aiq"}
            for endpoint in sorted(seen, key=lambda endpoint: endpoint.name)
        ]
        if target.name is not None:
            listed = [model for model in listed if model["id"] == target.name]
            if not listed:
                raise unknown_endpoint(target.name)
            shown = {ANTHROPIC: anthropic.model_body, GEMINI: gemini.model_body}.get(target.shape)
            return shown(listed[0]) if shown else listed[0]
        if target.shape is ANTHROPIC:
            return anthropic.models_body(listed)
        if target.shape is GEMINI:
            return {"models": [gemini.model_body(model) for model in listed]}
        return {"object": "list", "data": listed}

    async def _serve(
        self, exchange: Exchange, endpoint: Endpoint, body: dict[str, Any], caller: Caller, target: PathTarget
    ) -> None:
        """Asks an endpoint, and replies with its answer, whole or as a stream."""
        shape = target.shape
        chat = shape.chat(body)
        if target.stream is not None:
            chat = {**chat, "stream": target.stream}
        tags = exchange.header(TAGS.lower())
        asked = asked_of(endpoint, chat, caller, exchange.tag, task=target.task, entity=target.entity, tags=tags)
        if asked.stream:
            await self._stream(exchange, asked, shape, body)
            return
        answer = await _unless_gone(exchange, _on_loop(self._gateway.answer(asked.request)))
        served = [(b"served-model-name", answer.entity.encode("latin-1", "replace"))]
        await exchange.reply_json(200, shape.reply(reply_of(answer, asked.request), body), served)

    async def _opened(self, name: str) -> Endpoint:
        """An endpoint that is ready to be asked. Raises Refusal 404."""
        endpoint = self._gateway.config.endpoints.get(name)
        if endpoint is None:
            await asyncio.to_thread(self._gateway.refresh)  # it may be a minute old
            endpoint = self._gateway.config.endpoints.get(name)
        if endpoint is None:
            raise unknown_endpoint(name)
        if name not in self._ready or self._ready[name] is not endpoint:
            try:
                endpoint = await asyncio.to_thread(self._gateway.open_endpoint, name)
            except StatementError:
                raise unknown_endpoint(name) from None
            self._ready[name] = endpoint
        return endpoint

    async def _stream(self, exchange: Exchange, asked: ParsedBody, shape: Shape, body: dict[str, Any]) -> None:
        """Streams an answer: errors before its first token are whole replies, later ones cut the connection."""
        chunks = self._gateway.stream(asked.request)
        if asyncio.get_running_loop() is not background_loop():
            chunks = _stream_on_loop(chunks)
        events = Events(chunks, asked.request, agents_part=_AGENTS_PARTS.get(shape))
        await _unless_gone(exchange, self._write(exchange, events, shape, body))

    @staticmethod
    async def _write(exchange: Exchange, events: Events, shape: Shape, body: dict[str, Any]) -> None:
        await events.begin()
        await exchange.start(200, _STREAM)
        try:
            async with aclosing(events.all()) as chunks, aclosing(shape.events(chunks, body)) as pieces:
                async for piece in pieces:
                    await exchange.write(piece)
        except Exception as error:
            if not isinstance(error, PolicyError | StatementError):
                log.info("the stream %s broke: %s", exchange.tag, error)
            await exchange.write(shape.broken(refusal_of(error)))
            raise _Cut from None
        await exchange.write(b"", last=True)


async def _unless_gone(exchange: Exchange, work: Coroutine[Any, Any, T]) -> T:
    """The result of work that is given up when the client leaves."""
    doing, has_left = asyncio.current_task(), False
    assert doing is not None

    async def watch() -> None:
        nonlocal has_left
        await exchange.gone()
        has_left = True
        doing.cancel()

    leaving = asyncio.ensure_future(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if not has_left:
            raise
        doing.uncancel()
        raise _Cut from None
    finally:
        leaving.cancel()


async def _on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Awaits work of the gateway, which runs on the process' own loop."""
    if asyncio.get_running_loop() is background_loop():
        return await work
    return await asyncio.wrap_future(submit(work))


async def _stream_on_loop(chunks: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
    """The chunks of the gateway, on whichever loop they are read."""
    try:
        while (chunk := await _on_loop(_next(chunks))) is not None:
            yield chunk
    finally:
        await _on_loop(chunks.aclose())


async def _next(chunks: AsyncGenerator[Chunk, None]) -> Chunk | None:
    return await anext(chunks, None)
