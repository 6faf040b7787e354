"""Where models are on Vertex AI, and the access tokens that they take. Must never know a model's wire form or a socket.

Source: the Vertex AI API reference (`v1`).
"""

from __future__ import annotations

from urllib.parse import quote

from aiq.config.connections import VertexConfig
from aiq.config.endpoint import ServedEntity
from aiq.providers.base import CloudToken, HttpRequest, HttpResponse
from aiq.providers.google.service_account import ServiceAccount
from aiq.providers.wire.external import ExternalAdapter
from aiq.providers.wire.oauth import token_of

_CONTINENTS = ("us", "eu")
"""Regions that are several, which have hosts of another form."""


class VertexAccess(ExternalAdapter):
    """The credentials of a served entity on Vertex AI: a service account's own key, or what Google's library finds."""

    _headers: list[tuple[str, str]]
    _account: ServiceAccount | None = None

    @property
    def _vertex(self) -> VertexConfig:
        assert isinstance(self._entity.config, VertexConfig)
        return self._entity.config

    def prepare(self) -> None:
        secret = self._vertex.private_key
        if self._account is None and secret is not None:
            place = f"served entity '{self._entity.name}' ({secret.source})"
            self._account = ServiceAccount(secret.reveal(), place=place, api_base=self._vertex.api_base)

    def token_request(self) -> HttpRequest | None:
        if self._account is None:
            return None
        assertion = self._account.assertion(self._clock())
        self._secrets = (assertion, *self._secrets[1:])
        return self._account.token_request(assertion)

    def take_token(self, response: HttpResponse) -> float:
        token, valid_s = token_of(response, self._redact)
        self._secrets = (*self._secrets[:1], token)
        self._headers = _headers(token)
        return valid_s

    def take_cloud_token(self, cloud: CloudToken) -> None:
        self._secrets = (cloud.token,)
        self._headers = _headers(cloud.token, cloud.project)


def vertex_root(config: VertexConfig) -> str:
    """`https://<host>/v1/projects/<project>/locations/<region>`, at the region's own host."""
    return f"{vertex_host(config)}/v1/projects/{quote(config.project_id)}/locations/{config.region}"


def vertex_host(config: VertexConfig) -> str:
    """The host of a region, with `https://`."""
    if config.api_base is not None:
        return config.api_base
    if config.region == "global":
        return "https://aiplatform.googleapis.com"
    if config.region in _CONTINENTS:
        return f"https://aiplatform.{config.region}.rep.googleapis.com"
    return f"https://{config.region}-aiplatform.googleapis.com"


def maker_of(entity: ServedEntity) -> str:
    """Who made a model, as Vertex AI writes publishers; `google` where the name does not say another one."""
    name = entity.model.removeprefix("publishers/")
    maker, slash, _ = name.partition("/")
    if slash:
        return "google" if maker in _GOOGLES else maker
    bare = name.lower()
    return next((publisher for start, publisher in _BARE if bare.startswith(start)), "google")


_GOOGLES = frozenset({"google", "projects", "endpoints", "models"})
"""What stands before the first slash of Google's own models, and of tuned ones."""
_BARE = (
    ("claude-", "anthropic"),
    ("mistral-", "mistralai"),
    ("ministral-", "mistralai"),
    ("codestral-", "mistralai"),
    ("llama-", "meta"),
)
"""Beginnings of models' names that stand without their maker."""


def _headers(token: str, project: str = "") -> list[tuple[str, str]]:
    headers = [("content-type", "application/json"), ("authorization", f"Bearer {token}")]
    return [*headers, ("x-goog-user-project", project)] if project else headers
