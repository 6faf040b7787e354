"""MLflow's scoring protocol: a custom model takes its own inputs and answers `{"predictions": [...]}`.

Must never know sockets, clocks or policy. Source: MLflow's and Databricks' scoring format (`dataframe_records`).
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from aiq.config.connections import ModelServerConfig
from aiq.config.endpoint import ServedEntity
from aiq.errors import ProviderError
from aiq.providers.abilities import Abilities
from aiq.providers.base import HttpRequest, HttpResponse, StreamDecoder
from aiq.providers.databricks.adapter import databricks_error
from aiq.providers.wire.errors import shorten, unusable
from aiq.providers.wire.external import ExternalAdapter
from aiq.request import Answer, Request, Usage


class ModelServerAdapter(ExternalAdapter):
    """Scores one custom model. A prediction has no tokens, so its usage is zero."""

    abilities = Abilities()

    def __init__(self, entity: ServedEntity, clock: Callable[[], float]) -> None:
        super().__init__(entity, clock)
        assert isinstance(entity.config, ModelServerConfig)
        self._config, self._model = entity.config, entity.model
        self.address = entity.config.url
        self._headers: list[tuple[str, str]] = []

    def prepare(self) -> None:
        if not self._headers:
            headers = [("content-type", "application/json")]
            if self._config.bearer is not None:
                key = self._config.bearer.reveal()
                self._secrets = (key,)
                headers.append(("authorization", f"Bearer {key}"))
            self._headers = headers

    def streams(self, request: Request) -> bool:
        return False

    def decoder(self, request: Request, response: HttpResponse) -> StreamDecoder:
        raise AssertionError("predictions do not come in pieces, as `streams` says")

    def encode(self, request: Request, *, stream: bool = False) -> HttpRequest:
        return HttpRequest(self._config.url, self._headers, orjson.dumps(request.body))

    def decode(self, request: Request, response: HttpResponse) -> Answer:
        raw = self._body(response)
        if response.status != 200:
            raise self.error(response)
        try:
            data = orjson.loads(response.body)
        except ValueError:
            data = None
        predictions = data.get("predictions", data.get("outputs")) if isinstance(data, dict) else None
        if not isinstance(predictions, list):
            raise unusable(
                f"the model server's answer has no list of predictions: {shorten(raw[:300])}",
                response,
                body=raw,
            )
        return Answer(predictions, Usage(0, 0), self._model, None, raw)

    def error(self, response: HttpResponse) -> ProviderError:
        """What a response that is an error means."""
        return databricks_error(response, self._body(response))
