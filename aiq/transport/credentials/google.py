"""Google: access tokens of the application default credentials, of a credential file, or of the metadata server.

Source: Google Cloud's "How Application Default Credentials works" and "Workload Identity Federation".
"""

from __future__ import annotations

import datetime
import json
from typing import Any, NoReturn

import google.auth
from google.auth import aws, compute_engine, identity_pool, impersonated_credentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import Request
from google.oauth2 import credentials as authorized_user
from google.oauth2 import service_account

from aiq.config.cloud import GoogleCredentials
from aiq.errors import ProviderError
from aiq.providers.base import CloudToken
from aiq.providers.google.service_account import SCOPE
from aiq.providers.wire.errors import shorten

_SHORTEST_S = 5.0


class GoogleSource:
    """Gives the access tokens of one served entity. The credential is looked for once, and again after a failure."""

    def __init__(self, credentials: GoogleCredentials) -> None:
        self._credentials = credentials
        self._found: Any = None

    def __call__(self) -> CloudToken:
        found, self._found = self._found, None
        try:
            if found is None:
                found = self._look()
            found.refresh(Request())
        except TransportError as error:
            raise ProviderError(f"no Google credentials: {_words(error)}", kind="network", status=503) from None
        except GoogleAuthError as error:
            if error.retryable:
                raise ProviderError(f"no Google credentials: {_words(error)}", kind="overloaded", status=503) from None
            _fail(_words(error))
        except (OSError, ValueError, KeyError, TypeError) as error:
            _fail(f"{self._place()} cannot be used: {getattr(error, 'strerror', None) or type(error).__name__}")
        if not found.token:
            _fail("a credential was found, but no token was given for it")
        self._found = found
        ends = found.expiry  # in UTC, without saying so
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        left_s = 3600.0 if ends is None else max(_SHORTEST_S, (ends - now).total_seconds())
        return CloudToken(found.token, left_s, project=getattr(found, "quota_project_id", None) or "")

    def _look(self) -> Any:
        if self._credentials.source == "metadata":
            return compute_engine.Credentials(scopes=[SCOPE])
        if self._credentials.source == "default":
            return google.auth.default(scopes=[SCOPE])[0]
        with open(self._credentials.file or "", encoding="utf-8") as file:
            return _of_file(json.load(file), self._place())

    def _place(self) -> str:
        return self._credentials.file or "what is set for application default credentials"


def _of_file(info: Any, place: str) -> Any:
    """The credential that a file holds, each type by its own reader."""
    kind = info.get("type") if isinstance(info, dict) else None
    if kind == "service_account":
        return service_account.Credentials.from_service_account_info(info, scopes=[SCOPE])
    if kind == "authorized_user":
        return authorized_user.Credentials.from_authorized_user_info(info, scopes=[SCOPE])
    if kind == "impersonated_service_account":
        return impersonated_credentials.Credentials.from_impersonated_service_account_info(info, scopes=[SCOPE])
    if kind == "external_account":
        source = info.get("credential_source") or {}
        if "executable" in source:
            _fail(f"{place} runs a program to get its token, which is not done; let it write the token to a file")
        reader = aws if str(source.get("environment_id", "")).startswith("aws") else identity_pool
        return reader.Credentials.from_info(info, scopes=[SCOPE])
    _fail(
        f"{place} is of type {str(kind)[:40]!r}; it takes service_account, authorized_user, external_account or "
        "impersonated_service_account"
    )


def _words(error: Exception) -> str:
    """The first of its words: what follows may be a whole answer."""
    return shorten(str(error.args[0] if error.args else type(error).__name__))


def _fail(words: str) -> NoReturn:
    raise ProviderError(f"no Google credentials: {words}", kind="auth", status=401) from None
