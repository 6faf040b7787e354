"""The simulated provider itself: a request's bytes in, a reply out. Knows no socket, waits for nothing, and leaves to
the vendors (`aiq.simulator.vendors`) what a request means and how an answer looks.

Order of decisions, as a real provider's: route, credentials, validation, quota, faults, answer.
"""

from __future__ import annotations

import itertools
import time
import traceback
import zlib
from collections.abc import Callable
from hashlib import blake2b

import orjson

from aiq.errors import ConfigError
from aiq.simulator import answers, faults
from aiq.simulator.cache import PromptCache
from aiq.simulator.exchange import Choice, Counts, Said, VendorCall, VendorRequest, VendorRoute
from aiq.simulator.faults import Fault
from aiq.simulator.profile import Profile
from aiq.simulator.quota import QuotaBook
from aiq.simulator.records import ReceivedRequest, Records
from aiq.simulator.refusal import OverQuota, VendorError
from aiq.simulator.reply import Reply, VendorEvents, deform, split_inside_characters
from aiq.simulator.tool_calls import draw
from aiq.simulator.vectors import embed
from aiq.simulator.vendors import OPENAI, find
from aiq.simulator.vendors.base import Keys, Vendor

__all__ = ["Provider", "Reply", "VendorCall"]

REFUSED = "I'm sorry, but I can't help with that."
_OVERLOADED = VendorError(503, "The engine is overloaded.", kind="overloaded_error")


class Provider:
    """A simulated provider. `clock` gives seconds since 1970; `ticks` gives seconds that never go back."""

    def __init__(
        self,
        profile: Profile,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.profile, self._clock = profile, clock
        self._quotas = QuotaBook(profile.quotas, ticks, clock)
        self._keys = Keys(profile.keys)
        self._cache = PromptCache()
        self.records = Records(dict(profile.prices), clock)
        self._tries: dict[int, int] = {}
        self._warm: set[str] = set()
        self._faults = profile.faults
        self._ids = itertools.count(1)

    def reset(self) -> None:
        """Forget statistics, attempts, quotas, caches, which bodies have failed once, and faults that were set."""
        self._faults = self.profile.faults
        self.records.reset()
        self._quotas.reset()
        self._cache.reset()
        self._tries.clear()
        self._warm.clear()

    def handle(self, call: VendorCall) -> Reply:
        """Decide on a request. The caller reports how sending went with `finish`."""
        path, _, query = call.target.partition(b"?")
        if path.startswith(b"/__"):
            return self._control(call.method, path, call.body)
        attempt = self.records.begin(
            path.decode("latin-1"), blake2b(call.body, digest_size=8).hexdigest(), len(call.body)
        )
        vendor, route = find(call.method, path, query)
        attempt.vendor = vendor.name
        if (idempotency_key := call.headers.get(b"idempotency-key")) is not None:
            attempt.idempotency_key = idempotency_key[:255].decode("latin-1")
        number = next(self._ids)
        if isinstance(route, VendorError):
            return self._refused(vendor, route, None, number, attempt)
        try:
            key = vendor.authenticate(call, route, self._keys, self._clock())
            attempt.set_key(key)
            if route.task == "page":
                reply = Reply(200, vendor.page(call, route, self._clock()), headers=vendor.headers(route, number, 0.0))
                attempt.ok = True
            else:
                reply = self._answer(vendor, call, route, key, number, attempt)
        except VendorError as refusal:
            return self._refused(vendor, refusal, route, number, attempt)
        except Exception as error:
            # A mistake of the simulator's own: the client must not hang on it, and somebody must see it.
            traceback.print_exc()
            failure = VendorError(500, f"The simulator failed: {type(error).__name__}.", kind="server_error")
            return self._refused(vendor, failure, route, number, attempt)
        reply.attempt = attempt
        return reply

    def finish(self, reply: Reply, status: int) -> None:
        """Record how a reply ended: the status sent, 0 when none was, 499 when the client left first."""
        if reply.attempt is not None:
            self.records.end(reply.attempt, status)
            if reply.limits is not None and reply.asked is not None:
                self._quotas.settle(reply.limits, reply.asked, reply.attempt.counts if reply.attempt.ok else None)

    def unreadable(self, status: int, message: str) -> Reply:
        """The reply to bytes that are no request, whoever they were meant for."""
        return Reply(status, OPENAI.refused(VendorError(status, message), None, 0)[0])

    def _refused(
        self, vendor: Vendor, refusal: VendorError, route: VendorRoute | None, number: int, attempt: ReceivedRequest
    ) -> Reply:
        if isinstance(refusal, OverQuota):
            self.records.over_quota += 1
        body, headers = vendor.refused(refusal, route, number)
        reply = Reply(refusal.status, body, headers=refusal.headers + headers)
        reply.attempt = attempt
        return reply

    def _control(self, method: bytes, path: bytes, body: bytes) -> Reply:
        if path == b"/__stats" and method == b"GET":
            return Reply(200, orjson.dumps(self.records.stats()))
        if path == b"/__attempts" and method == b"GET":
            return Reply(200, orjson.dumps({"attempts": self.records.attempts()}))
        if path == b"/__invoice" and method == b"GET":
            return Reply(200, orjson.dumps({"lines": self.records.invoice.lines()}))
        if path == b"/__reset" and method == b"POST":
            self.reset()
            return Reply(200, b'{"reset":true}')
        if path == b"/__faults" and method == b"POST":
            try:
                self._faults = Profile.from_dict({"faults": orjson.loads(body)}).faults
            except (ConfigError, orjson.JSONDecodeError) as error:
                return Reply(400, orjson.dumps({"error": str(error)}))
            return Reply(200, orjson.dumps({"faults": len(self._faults)}))
        return Reply(404, b'{"error":"GET /__stats, GET /__attempts, GET /__invoice, POST /__reset or POST /__faults"}')

    def _answer(
        self, vendor: Vendor, call: VendorCall, route: VendorRoute, key: str, number: int, attempt: ReceivedRequest
    ) -> Reply:
        try:
            body = orjson.loads(call.body)
        except orjson.JSONDecodeError:
            raise VendorError(400, vendor.not_json) from None
        if not isinstance(body, dict):
            raise VendorError(400, "The body of your request must be a JSON object.")
        model = route.model or body.get("model") or ""
        attempt.model = model if isinstance(model, str) else ""
        try:
            asked = vendor.read(body, route)
        except (TypeError, LookupError, AttributeError, ValueError) as error:
            # A value of a kind that no check foresaw, such as a list where a name belongs.
            raise VendorError(400, "The body of your request is malformed.", code="invalid_value") from error
        attempt.model = asked.model
        scope = ""
        if asked.cacheable:
            scope = f"{vendor.name}\0{key}\0{asked.model}"
            asked.cached_tokens, asked.written_tokens = self._cache.look_up(scope, asked.cacheable)
        limits = self._quotas.of(vendor.limits, key, asked.model)
        headers = self._quotas.admit(limits, asked)
        fault = self._fault(call.body, asked.model, attempt)
        kind = "" if fault is None else fault.kind
        if fault is not None and kind not in faults.SHAPES and kind not in vendor.answers_faults:
            refusal = self._fault_refusal(vendor, fault)
            refusal.headers += headers
            if limits is not None:
                self._quotas.settle(limits, asked, None)
            raise refusal
        if kind == "no-prefill" and asked.messages and asked.messages[-1]["role"] == "assistant":
            raise VendorError(400, "This model does not support assistant message prefill.", param="messages")
        if scope:
            self._cache.remember(scope, asked.cacheable)
        if asked.task == "embeddings":
            reply = self._embeddings(vendor, asked, kind, attempt)
        else:
            reply = self._said(vendor, asked, kind, number, attempt)
        delay_s = self._delay_s(reply, asked.model, attempt)
        reply.delay_s, attempt.ok = delay_s, True
        reply.headers += headers + vendor.headers(route, number, delay_s)
        if limits is not None:
            reply.limits, reply.asked = limits, asked
        if fault is None or kind in vendor.answers_faults:
            return reply
        words = VendorEvents(vendor.broken_event, vendor.stream_error(_OVERLOADED, route))
        return deform(reply, fault, attempt, words, self.profile.huge_bytes)

    def _delay_s(self, reply: Reply, model: str, attempt: ReceivedRequest) -> float:
        """Seconds before the first byte; the pace of a stream is set."""
        latency = self.profile.latency
        delay_s = latency.first_s(draw(self.profile.seed, attempt.body_hash) / 2**64)
        if latency.cold_start_ms and model not in self._warm:
            self._warm.add(model)
            delay_s += latency.cold_start_ms / 1000
        stretch, token_s = latency.stretch(self.records.in_flight), latency.per_token_ms / 1000
        if reply.pieces is None:
            delay_s += attempt.counts.output * token_s
        else:
            reply.step_s = token_s * stretch
        return delay_s * stretch

    def _fault_refusal(self, vendor: Vendor, fault: Fault) -> VendorError:
        refusal = vendor.refusal(fault.kind) or faults.refusal(fault)
        refusal.fault = fault.kind
        if faults.is_hinted(fault):
            refusal.retry_s = self.profile.retry_after_ms / 1000
            refusal.headers += vendor.hint(refusal.retry_s)
        refusal.headers += faults.odd_retry_after(fault, self._clock())
        return refusal

    def _fault(self, body: bytes, model: str, attempt: ReceivedRequest) -> Fault | None:
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
            if not rate.strikes_at(self.records.requests):
                continue
            if rate.applies_to(model) and draw(self.profile.seed, rate.kind, body_number, tried) / 2**64 < rate.rate:
                struck = faults.parse(rate.kind)
                if struck is not None and struck.strikes(tried, 0.0):
                    attempt.fault = rate.kind
                    return struck
        return None

    def _said(self, vendor: Vendor, asked: VendorRequest, kind: str, number: int, attempt: ReceivedRequest) -> Reply:
        """The answer to everything but embeddings, with the faults that are in its words."""
        choices: list[Choice] = []
        if kind == "huge":
            size = self.profile.huge_bytes
            choices = [Choice("a" * size, "stop", -(-size // 4))]
        elif asked.task != "scoring":
            choices = answers.choices(asked, self.profile.seed, self.profile.label, broken=kind == "bad-schema")
        if kind in ("null", "refusal"):
            refused = REFUSED if kind == "refusal" else None
            choices = [Choice(None, "stop", 0, refusal=refused) for _ in choices]
        elif kind in vendor.answers_faults:
            choices = [Choice(None, "content_filter", 0) for _ in choices]
        reasoning = sum(choice.reasoning for choice in choices)
        output = reasoning + sum(choice.tokens for choice in choices)
        written = asked.written_tokens
        written_1h = written if asked.kept_1h else 0
        counts = Counts(asked.prompt_tokens, output, asked.cached_tokens, written, reasoning, written_1h, asked.tier)
        attempt.counts = counts
        reported: Counts | None = counts
        if kind == "empty":
            choices, asked.inputs, reported = [], [], Counts(0, 0)
        elif kind == "no-usage":
            reported = None
        elif kind == "absurd-usage":
            reported = Counts(-1, -7)
        elif kind == "huge-usage":
            reported = Counts(10**15, 10**15)
        said = Said(number, int(self._clock()), choices, reported, kind)
        if not asked.stream:
            reply = Reply(200, orjson.dumps(vendor.full_body(asked, said)))
        else:
            reply = Reply(200, b"", vendor.stream_type)
            pieces = vendor.stream(asked, said)
            reply.pieces = split_inside_characters(pieces) if self.profile.split_utf8 else pieces
        return reply

    def _embeddings(self, vendor: Vendor, asked: VendorRequest, kind: str, attempt: ReceivedRequest) -> Reply:
        dimensions = asked.dimensions or self.profile.embedding_dimensions
        vectors = [embed(text, dimensions, self.profile.seed) for text in asked.inputs]
        attempt.embedding_inputs = len(vectors)
        counts = Counts(asked.prompt_tokens, 0)
        attempt.counts = counts
        reported: Counts | None = counts
        if kind == "empty":
            vectors = []
        elif kind == "no-usage":
            reported = None
        elif kind == "absurd-usage":
            reported = Counts(-1, 0)
        elif kind == "huge-usage":
            reported = Counts(10**15, 0)
        reply = Reply(200, orjson.dumps(vendor.embeddings(asked, vectors, reported)))
        if reported is not None:
            reply.headers = vendor.counted(asked, reported)
        return reply
