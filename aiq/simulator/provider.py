"""The simulated provider itself: a request's bytes in, a reply out. Knows no socket and waits for nothing.

Order of decisions, as a real provider's: route, credentials, validation, quota, faults, answer.
"""

from __future__ import annotations

import itertools
import re
import time
import zlib
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

import orjson

from aiq.errors import ConfigError
from aiq.simulator import answers, faults, formats
from aiq.simulator.answers import Choice, Prompt, draw
from aiq.simulator.faults import Fault
from aiq.simulator.profile import Profile
from aiq.simulator.quota import QuotaBook
from aiq.simulator.records import Attempt, Records
from aiq.simulator.refusal import Dialect, Refusal
from aiq.simulator.reply import Reply, deform
from aiq.simulator.tokens import chat_tokens, input_tokens
from aiq.simulator.validation import CHAT, COMPLETIONS, EMBEDDINGS, as_inputs, check_body
from aiq.simulator.vectors import embed

Task = Literal["chat", "completions", "embeddings", "invocations", "models"]


class Call(NamedTuple):
    """One HTTP request as it arrived. `authorization` and `api_key` are header values, empty when missing."""

    method: bytes
    target: bytes
    authorization: bytes
    api_key: bytes
    body: bytes


class Route(NamedTuple):
    """Where a path leads: the task, the error dialect, and the model where the path names it."""

    task: Task
    dialect: Dialect
    model: str = ""


_ROUTES = {
    b"/v1/chat/completions": Route("chat", "openai"),
    b"/v1/completions": Route("completions", "openai"),
    b"/v1/embeddings": Route("embeddings", "openai"),
    b"/v1/models": Route("models", "openai"),
    b"/openai/v1/chat/completions": Route("chat", "azure"),
    b"/openai/v1/completions": Route("completions", "azure"),
    b"/openai/v1/embeddings": Route("embeddings", "azure"),
    b"/invocations": Route("invocations", "mlflow", "model"),
}
_DEPLOYMENT = re.compile(rb"/openai/deployments/([^/]+)/(chat/completions|completions|embeddings)")
_SERVING = re.compile(rb"/serving-endpoints/([^/]+)/invocations")


class Provider:
    """A simulated provider. `clock` gives seconds since 1970; `ticks` gives seconds that never go back."""

    def __init__(
        self,
        profile: Profile,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.profile, self._clock = profile, clock
        self._quotas = QuotaBook(profile.quotas, ticks)
        self._keys = None if profile.keys is None else frozenset(profile.keys)
        self.records = Records(dict(profile.prices), clock)
        self._tries: dict[int, int] = {}
        self._faults = profile.faults
        self._ids = itertools.count(1)

    def reset(self) -> None:
        """Forget statistics, attempts, quotas, which bodies have failed once, and faults that were set."""
        self._faults = self.profile.faults
        self.records.reset()
        self._quotas.reset()
        self._tries.clear()

    def handle(self, call: Call) -> Reply:
        """Decide on a request. The caller reports how sending went with `finish`."""
        path, _, query = call.target.partition(b"?")
        if path.startswith(b"/__"):
            return self._control(call.method, path, call.body)
        key = (call.api_key or call.authorization[7:]).decode("latin-1")
        body_hash = blake2b(call.body, digest_size=8).hexdigest()
        attempt = self.records.begin(path.decode("latin-1"), key, body_hash, len(call.body))
        route = Route("models", "openai")
        try:
            route = _route(call.method, path, query)
            self._authenticate(call, route, key)
            if route.task == "models":
                reply = Reply(200, _models())
                attempt.ok = True
            else:
                reply = self._answer(call, route, key, attempt)
        except Refusal as refusal:
            if refusal.code == "rate_limit_exceeded" and not attempt.fault:
                self.records.over_quota += 1
            reply = Reply(refusal.status, refusal.body(route.dialect), headers=refusal.headers)
        if route.dialect == "azure":
            reply.headers += b"apim-request-id: aiq-%d\r\nx-ms-region: Simulated\r\n" % next(self._ids)
        reply.attempt = attempt
        return reply

    def finish(self, reply: Reply, status: int) -> None:
        """Record how a reply ended: the status sent, 0 when none was, 499 when the client left first."""
        if reply.attempt is not None:
            self.records.end(reply.attempt, status)

    def _control(self, method: bytes, path: bytes, body: bytes) -> Reply:
        if path == b"/__stats" and method == b"GET":
            return Reply(200, orjson.dumps(self.records.stats()))
        if path == b"/__attempts" and method == b"GET":
            return Reply(200, orjson.dumps({"attempts": self.records.attempts()}))
        if path == b"/__reset" and method == b"POST":
            self.reset()
            return Reply(200, b'{"reset":true}')
        if path == b"/__faults" and method == b"POST":
            try:
                self._faults = Profile.from_dict({"faults": orjson.loads(body)}).faults
            except (ConfigError, orjson.JSONDecodeError) as error:
                return Reply(400, orjson.dumps({"error": str(error)}))
            return Reply(200, orjson.dumps({"faults": len(self._faults)}))
        return Reply(404, b'{"error":"GET /__stats, GET /__attempts, POST /__reset or POST /__faults"}')

    def _authenticate(self, call: Call, route: Route, key: str) -> None:
        if route.task == "invocations" and not key and self._keys is None:
            return
        azure = route.dialect == "azure"
        present = bool(call.api_key) if azure and call.api_key else call.authorization[:7].lower() == b"bearer "
        if not present or not key:
            raise Refusal(
                401,
                "Access denied due to invalid subscription key or wrong API endpoint."
                if azure
                else "You didn't provide an API key. You need to provide your API key in an "
                "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            )
        if key == "sk-invalid" if self._keys is None else key not in self._keys:
            shown = key[-4:] if len(key) > 8 else ""
            raise Refusal(401, f"Incorrect API key provided: ***{shown}.", code="invalid_api_key")

    def _answer(self, call: Call, route: Route, key: str, attempt: Attempt) -> Reply:
        try:
            body = orjson.loads(call.body)
        except orjson.JSONDecodeError:
            raise Refusal(
                400,
                "We could not parse the JSON body of your request. (HINT: This likely means you aren't "
                "using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was "
                "sent was not valid JSON.)",
            ) from None
        if not isinstance(body, dict):
            raise Refusal(400, "The body of your request must be a JSON object.")
        model = route.model or body.get("model") or ""
        attempt.model = model if isinstance(model, str) else ""
        if route.task == "embeddings":
            check_body(body, EMBEDDINGS, "input", model)
            inputs = as_inputs(body["input"])
            tokens = estimate = input_tokens(inputs)
        elif route.task == "chat":
            check_body(body, CHAT, "messages", model)
            tokens = chat_tokens(body["messages"])
            estimate = max(tokens, body.get("max_completion_tokens") or body.get("max_tokens") or 0)
        elif route.task == "completions":
            check_body(body, COMPLETIONS, "prompt", model)
            inputs = as_inputs(body["prompt"])
            tokens = input_tokens(inputs)
            estimate = max(tokens, body.get("max_tokens") or 0)
        else:
            inputs = answers.predictions(body)
            tokens = estimate = 0
        headers = self._quotas.admit(key, model, estimate)
        fault = self._fault(call.body, model, attempt)
        if fault is not None and fault.kind not in faults.SHAPES:
            refusal = faults.refusal(fault, self.profile.retry_after_ms)
            refusal.headers += headers
            raise refusal
        if fault is not None and fault.kind == "no-prefill":
            _check_prefill(body)
        attempt.ok, attempt.prompt_tokens = True, tokens
        delay_s = self.profile.latency.first_s(draw(self.profile.seed, attempt.body_hash) / 2**64)
        if route.task == "chat" or route.task == "completions":
            reply = self._completion(body, route, model, attempt, fault)
        elif route.task == "embeddings":
            attempt.embedding_inputs = len(inputs)
            reply = self._embeddings(body, inputs, model, tokens, fault)
        else:
            found = [] if fault and fault.kind == "empty" else inputs
            reply = Reply(200, orjson.dumps({"predictions": found}))
        if reply.pieces is None:
            delay_s += attempt.completion_tokens * self.profile.latency.per_token_ms / 1000
        reply.delay_s = delay_s
        reply.headers = headers + b"openai-processing-ms: %d\r\n" % (delay_s * 1000)
        return reply if fault is None else deform(reply, fault, attempt)

    def _fault(self, body: bytes, model: str, attempt: Attempt) -> Fault | None:
        """The fault that strikes now: of a marker, else of the model's name, else of the profile's rates."""
        body_number = int(attempt.body_hash, 16) ^ zlib.crc32(model.encode("utf-8", "replace"))
        tried = self._tries.get(body_number, 0)
        self._tries[body_number] = tried + 1
        fault = (faults.of_body(body) if b"[[fault:" in body else None) or faults.of_model(model)
        if fault is not None:
            unit = 0.0 if fault.percent == 100 else draw(self.profile.seed, body_number, tried) / 2**64
            if fault.strikes(tried, unit):
                attempt.fault = fault.kind
                return fault
            return None
        for rate in self._faults:
            if rate.applies_to(model) and draw(self.profile.seed, rate.kind, body_number, tried) / 2**64 < rate.rate:
                struck = faults.parse(rate.kind)
                if struck is not None and struck.strikes(tried, 0.0):
                    attempt.fault = rate.kind
                    return struck
        return None

    def _completion(
        self, body: dict[str, Any], route: Route, model: str, attempt: Attempt, fault: Fault | None
    ) -> Reply:
        chat = route.task == "chat"
        if chat:
            prompts = [answers.read_messages(body["messages"])]
        else:
            texts = [text if isinstance(text, str) else f"token ids {text}" for text in as_inputs(body["prompt"])]
            prompts = [Prompt([text], text, []) for text in texts]
        said = [
            choice
            for prompt in prompts
            for choice in answers.choices(prompt, model, body, self.profile.seed, self.profile.label)
        ]
        kind = fault.kind if fault else ""
        if kind == "huge":
            size = self.profile.huge_bytes
            said = [Choice("a" * size, "stop", -(-size // 4))]
        attempt.completion_tokens = sum(choice.tokens for choice in said)
        if kind in ("null", "refusal"):
            attempt.completion_tokens = 0
        counts = formats.usage(attempt.prompt_tokens, attempt.completion_tokens)
        if kind == "absurd-usage":
            counts |= {"prompt_tokens": -1, "completion_tokens": -7, "total_tokens": -8}
        number = next(self._ids)
        envelope = formats.Envelope(
            f"{'chatcmpl' if chat else 'cmpl'}-sim{number:012d}",
            int(self._clock()),
            model,
            chat,
            route.dialect == "azure",
        )
        if body.get("stream"):
            include_usage = bool((body.get("stream_options") or {}).get("include_usage")) and kind != "no-usage"
            if kind in ("null", "refusal"):
                said = [choice._replace(text=formats.REFUSED if kind == "refusal" else "") for choice in said]
            part: Literal["content", "refusal"] = "refusal" if kind == "refusal" else "content"
            streamed = [] if kind == "empty" else said
            pieces = list(formats.stream(envelope, streamed, counts, include_usage, part=part))
            reply = Reply(200, b"", b"text/event-stream; charset=utf-8")
            reply.pieces = formats.split_inside_characters(pieces) if self.profile.split_utf8 else pieces
            reply.step_s = self.profile.latency.per_token_ms / 1000
            return reply
        answer = formats.completion(envelope, said, counts)
        if kind == "empty":
            answer["choices"] = []
            answer["usage"] = formats.usage(0, 0)
        elif kind == "no-usage":
            del answer["usage"]
        elif kind in ("null", "refusal"):
            refused = formats.REFUSED if kind == "refusal" else None
            for choice in answer["choices"]:
                choice |= (
                    {"message": {"role": "assistant", "content": None, "refusal": refused}} if chat else {"text": None}
                )
        return Reply(200, orjson.dumps(answer))

    def _embeddings(
        self, body: dict[str, Any], inputs: list[Any], model: str, tokens: int, fault: Fault | None
    ) -> Reply:
        dimensions = body.get("dimensions") or self.profile.embedding_dimensions
        vectors = [embed(text, dimensions, self.profile.seed) for text in inputs]
        answer = formats.embeddings(vectors, model, tokens, body.get("encoding_format") == "base64")
        kind = fault.kind if fault else ""
        if kind == "empty":
            answer["data"] = []
        elif kind == "no-usage":
            del answer["usage"]
        elif kind == "absurd-usage":
            answer["usage"] = {"prompt_tokens": -1, "total_tokens": -1}
        return Reply(200, orjson.dumps(answer))


def _route(method: bytes, path: bytes, query: bytes) -> Route:
    route = _ROUTES.get(path)
    if route is None:
        if match := _DEPLOYMENT.fullmatch(path):
            if b"api-version=" not in query:
                raise Refusal(404, "Resource not found: the api-version query parameter is missing.", code="404")
            tasks: dict[bytes, Task] = {b"chat/completions": "chat", b"completions": "completions"}
            route = Route(tasks.get(match[2], "embeddings"), "azure", match[1].decode("latin-1"))
        elif match := _SERVING.fullmatch(path):
            route = Route("invocations", "mlflow", match[1].decode("latin-1"))
        else:
            raise Refusal(404, f"Invalid URL ({method.decode('latin-1')} {path.decode('latin-1')})")
    allowed = b"GET" if route.task == "models" else b"POST"
    if method != allowed:
        raise Refusal(
            405,
            f"Not allowed to {method.decode('latin-1')} on {path.decode('latin-1')}. (HINT: "
            "Perhaps you meant to use a different HTTP method?)",
            headers=b"allow: %b\r\n" % allowed,
        )
    return route


def _check_prefill(body: dict[str, Any]) -> None:
    messages = body.get("messages") or [{}]
    if messages[-1].get("role") == "assistant":
        raise Refusal(400, "This model does not support assistant message prefill.", param="messages")


def _models() -> bytes:
    names = ["gpt-4o", "gpt-4o-mini", "text-embedding-3-small", *faults.model_names()]
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "aiq-simulator"} for name in names]
    return orjson.dumps({"object": "list", "data": data})
