"""Amazon Bedrock: chat by Converse and ConverseStream, embeddings by InvokeModel. Must never know sockets or policy.

Source: the Amazon Bedrock API reference and the SDK's service model (bedrock-runtime, 2023-09-30).
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import orjson

from aiq.config.connections import BedrockConfig
from aiq.config.endpoint import ServedEntity
from aiq.errors import ProviderError
from aiq.providers.abilities import Abilities
from aiq.providers.base import CloudToken, HttpRequest, HttpResponse, StatedLimits, StreamDecoder
from aiq.providers.bedrock.answer import content_of, finish_reason, usage_of
from aiq.providers.bedrock.embeddings import OWN as EMBEDDINGS_OWN
from aiq.providers.bedrock.embeddings import embeddings_body, most_inputs, read_embeddings
from aiq.providers.bedrock.errors import exception_name, failure
from aiq.providers.bedrock.request import DEFAULT_MAX_TOKENS, HONOURED, OWN, Learnt, converse_body, wants_schema
from aiq.providers.bedrock.sigv4 import Signer
from aiq.providers.bedrock.stream import ConverseStream
from aiq.providers.wire.errors import error_from_body, shorten, unusable
from aiq.providers.wire.estimates import estimate_usage
from aiq.providers.wire.external import ExternalAdapter
from aiq.providers.wire.openai_form import completion
from aiq.providers.wire.streams import WholeBody, is_stream
from aiq.providers.wire.usage import known_or_estimated
from aiq.providers.wire.waiting import refusal
from aiq.providers.wire.wholeness import check_end, check_said, end_of
from aiq.request import Answer, Request, Usage

SERVICE = "bedrock"
"""The name that signatures carry; the host has another."""
MIN_SKEW_S = 60.0
"""A clock that is less off than this is not why a signature was refused."""


class BedrockAdapter(ExternalAdapter):
    """Speaks to one model."""

    abilities = Abilities(
        parameters={"llm/v1/chat": HONOURED, "llm/v1/embeddings": frozenset({"dimensions"})},
        own=OWN | EMBEDDINGS_OWN,
        most_inputs=most_inputs,
        takes_link=lambda url: False,
    )

    def __init__(self, entity: ServedEntity, clock: Callable[[], float]) -> None:
        super().__init__(entity, clock)
        assert isinstance(entity.config, BedrockConfig)
        self._config = entity.config
        self.address = self._config.api_base or _address(self._config.region)
        # A model may be an ARN: its colons and slashes are one segment of the path.
        model = f"{self.address}/model/{quote(entity.model, safe='')}"
        self._urls = {way: f"{model}/{way}" for way in ("converse", "converse-stream", "invoke")}
        self._signers: dict[str, Signer] = {}
        self._bearer: list[tuple[str, str]] = []
        self._skew_s = 0.0
        self._learnt = Learnt()

    def prepare(self) -> None:
        config = self._config
        if self._secrets or config.credentials is not None:
            return
        if config.api_key is not None:
            key = config.api_key.reveal()
            self._bearer = [("content-type", "application/json"), ("authorization", f"Bearer {key}")]
            self._secrets = (key,)
            return
        assert config.access_key_id is not None and config.secret_access_key is not None
        token = config.session_token.reveal() if config.session_token is not None else ""
        self._sign_with(config.access_key_id.reveal(), config.secret_access_key.reveal(), token)

    def take_cloud_token(self, cloud: CloudToken) -> None:
        self._sign_with(cloud.key_id, cloud.secret, cloud.token)

    def _sign_with(self, key_id: str, secret: str, token: str) -> None:
        region = self._config.region
        for way, url in self._urls.items():
            self._signers[way] = Signer(key_id, secret, region=region, service=SERVICE, url=url, session_token=token)
        self._secrets = tuple(filter(None, (secret, token)))

    def stated_limits(self, response: HttpResponse) -> StatedLimits | None:
        return None  # Bedrock does not state its quotas

    def encode(self, request: Request, *, stream: bool = False) -> HttpRequest:
        try:
            if request.task == "llm/v1/embeddings":
                way = "invoke"
                body = embeddings_body(request.body, self._entity.model, self._config.vendor, self._refuse)
            else:
                way = "converse-stream" if stream else "converse"
                body = converse_body(request.body, self._config.vendor, self._learnt, self._refuse)
            sent = orjson.dumps(body)
        except (KeyError, TypeError, AttributeError, IndexError, ValueError):
            self._refuse("takes messages, tools and response_format in OpenAI's form, and these are not")
        headers = self._bearer or self._signers[way].headers(sent, self._clock() + self._skew_s)
        return HttpRequest(self._urls[way], headers, sent)

    def decoder(self, request: Request, response: HttpResponse) -> StreamDecoder:
        if not is_stream(response):
            return WholeBody(self, request, response)
        # Where the model is made to call a tool, what it says before that is not its answer.
        made = self._learnt.by_tool(request.body)
        return ConverseStream(self, request, response, self._entity.model, int(self._clock()), hold=made)

    def decode(self, request: Request, response: HttpResponse) -> Answer:
        if response.status != 200:
            raise self.error(request, response)
        data = self._json(response)
        if request.task != "llm/v1/embeddings":
            return self.answer(request, data, response)
        try:
            vectors, tokens = read_embeddings(data, len(request.body["input"]), response)
        except (KeyError, TypeError, IndexError, AttributeError, ValueError):
            raise self._unusable(response) from None
        usage = estimate_usage(request, 0) if tokens is None else Usage(tokens, 0)
        return Answer(vectors, usage, self._entity.model, None, self._body(response))

    def answer(self, request: Request, data: Any, response: HttpResponse) -> Answer:
        """The answer that a body of Converse holds. Raises ProviderError where it is not usable."""
        usage = None
        try:
            usage = usage_of(data)
            reason = str(data["stopReason"])
            said = content_of(data["output"]["message"]["content"], reason)
            usage = known_or_estimated(usage, request, said.characters)
            finish, end, raw = (
                finish_reason(reason, calls=bool(said.calls), answered=said.answered),
                end_of("bedrock", reason),
                self._body(response),
            )
            if end == "filtered":  # what there is of a text is not what the model would have said
                words = f": {shorten(self._redact(said.text))}" if said.text else ""
                raise ProviderError(f"blocked ({reason}){words}", kind="content_filter", status=400)
            check_end(end, reason, raw=raw, usage=usage)
            if not said.calls:
                check_said(said.text, end, request.body, reasoned=bool(said.reasoning), raw=raw, usage=usage)
            logged = completion(
                id=response.header("x-amzn-requestid"),
                created=int(self._clock()),
                model=self._entity.model,
                content=said.text,
                finish_reason=finish,
                usage=usage,
                tool_calls=said.calls,
                reasoning=said.reasoning,
            )
            return Answer(said.text, usage, self._entity.model, finish, self._recorded(orjson.dumps(logged).decode()))
        except ProviderError as error:
            error.usage, error.body = usage, self._body(response)  # it is billed all the same
            raise
        except (KeyError, TypeError, IndexError, AttributeError, ValueError):
            unreadable = self._unusable(response)
            unreadable.usage = usage
            raise unreadable from None

    def error(self, request: Request, response: HttpResponse) -> ProviderError:
        """What a response that is an error means."""
        body = self._body(response)
        try:
            data = orjson.loads(body)
        except ValueError:
            data = None
        fields = data if isinstance(data, dict) else {}
        name = response.header("x-amzn-errortype") or str(fields.get("__type") or fields.get("code") or "")
        words = str(fields.get("message") or fields.get("Message") or "")
        return self.exception(request, response, exception_name(name), words, body)

    def exception(self, request: Request, response: HttpResponse, name: str, words: str, body: str) -> ProviderError:
        """What an exception means, of a response or within a stream. It may teach what the model takes."""
        found, body = failure(name, words, response.status), self._redact(body)
        kind = found.kind
        if 300 <= response.status < 400:
            message = (
                f"HTTP {response.status}: the provider redirects, and a redirect is never followed with a credential"
            )
        else:
            message = shorten(self._redact(words)) or error_from_body(found.status, body)
            message = f"{name}: {message}" if name else message
        asked = request.body
        if (
            found.refused is not None
            and wants_schema(asked)
            and (found.refused == "text_format" or not asked.get("tools"))
        ):
            # Also where it was learnt a moment ago: many requests were in flight when the first one taught it.
            self._learnt.refused.add(found.refused)
            kind = "adapted"
        limit = found.token_limit
        own_limit = asked.get("max_tokens") or asked.get("max_completion_tokens")
        if limit is not None and own_limit is None and 0 < limit < DEFAULT_MAX_TOKENS:
            self._learnt.max_tokens, kind = min(limit, self._learnt.max_tokens), "adapted"
        if found.clock and self._adjust_clock(response):
            kind = "adapted"
        error = refusal(message, kind=kind, status=found.status, response=response, body=body)
        error.stale_credential = found.stale
        return error

    def _adjust_clock(self, response: HttpResponse) -> bool:
        """Goes by the provider's clock from now on, where ours is off by more than a minute. False where it is not."""
        try:
            skew_s = parsedate_to_datetime(response.header("date") or "").timestamp() - self._clock()
        except (ValueError, TypeError, OverflowError):
            return False
        if abs(skew_s) < MIN_SKEW_S:
            return False
        self._skew_s = skew_s
        return True

    def _unusable(self, response: HttpResponse) -> ProviderError:
        raw = self._body(response)
        return unusable(
            f"the answer is JSON, but not of the form that Bedrock promises: {shorten(raw[:300])}",
            response,
            body=raw,
            once=True,
        )


def _address(region: str) -> str:
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://bedrock-runtime.{region}.{domain}"
