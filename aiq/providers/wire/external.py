"""What the adapters of external models share. Must never know one provider's words, a socket or policy.

Whatever a provider's own form is, an answer's `raw` and a chunk's `data` have that of OpenAI, as on Databricks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from aiq.config.endpoint import ServedEntity
from aiq.errors import ProviderError
from aiq.providers.base import CloudToken, HttpRequest, HttpResponse, StatedLimits
from aiq.providers.wire.errors import error_from_body, redacted, without_secrets
from aiq.providers.wire.http import stated_limits
from aiq.providers.wire.lenient import read_json
from aiq.request import Request


class ExternalAdapter:
    """One served entity of a provider that takes a key as it is, and states its limits as OpenAI does."""

    def __init__(self, entity: ServedEntity, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since 1970."""
        self._entity, self._clock = entity, clock
        self._secrets: tuple[str, ...] = ()
        """What must not be seen in a provider's words; set by `prepare`."""
        self._hidden: tuple[str, ...] = ()

    def hide(self, *values: str) -> None:
        """Values of headers that go with the requests and must not be seen in a provider's words either."""
        self._hidden = values

    def streams(self, request: Request) -> bool:
        return request.task != "llm/v1/embeddings"

    def stated_limits(self, response: HttpResponse) -> StatedLimits | None:
        return stated_limits(response)

    def token_request(self) -> HttpRequest | None:
        return None

    def take_token(self, response: HttpResponse) -> float:
        raise AssertionError("no token was asked for, as `token_request` says")

    def take_cloud_token(self, cloud: CloudToken) -> None:
        raise AssertionError("the entity's credential is its own")

    def _redact(self, text: str) -> str:
        return redacted(text, *self._secrets, *self._hidden)

    def _recorded(self, text: str) -> str:
        """An answer as the log may have it: a model that repeats a credential is not to spread it."""
        return without_secrets(text, *self._secrets, *self._hidden)

    def _body(self, response: HttpResponse) -> str:
        """The text of a body that goes into an error's words."""
        return self._redact(str(response.body, "utf-8", "replace"))

    def _refuse(self, what: str) -> NoReturn:
        """Says before a call what the provider cannot do."""
        raise ProviderError(
            f"provider {self._entity.provider} {what}", kind="bad_request", status=400, entity=self._entity.name
        )

    def _json(self, response: HttpResponse) -> Any:
        """The parsed body of a 200, read as `read_json` does. Raises ProviderError where it is not JSON."""
        try:
            return read_json(response.body)
        except ValueError:
            body = self._body(response)
            words = f"the answer is not JSON: {error_from_body(200, body)}"
            raise ProviderError(words, kind="bad_answer", status=response.status, body=body) from None
