"""Azure: access tokens of a managed identity (machines, App Service), a workload identity, or the default order.

Source: Microsoft's "Managed identities for Azure resources" and "Azure Identity client library for Python".
"""

from __future__ import annotations

import os
import time
from typing import NoReturn

from azure.core.exceptions import AzureError, ClientAuthenticationError, ServiceRequestError
from azure.identity import (
    CredentialUnavailableError,
    DefaultAzureCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)

from aiq.config.cloud import AzureCredentials
from aiq.errors import ProviderError
from aiq.providers.base import CloudToken
from aiq.providers.wire.errors import shorten

_SHORTEST_S = 5.0
Credential = DefaultAzureCredential | ManagedIdentityCredential | WorkloadIdentityCredential


class AzureSource:
    """Gives the access tokens of one served entity, for `scope`."""

    def __init__(self, credentials: AzureCredentials, scope: str) -> None:
        self._credentials, self._scope = credentials, scope

    def __call__(self) -> CloudToken:
        try:
            # Anew each time: a credential keeps its token to the end, and one that is refused must not come back.
            with self._credential() as credential:
                token = credential.get_token(self._scope)
        except CredentialUnavailableError as error:
            _fail(shorten(str(error.message)))
        except ClientAuthenticationError as error:
            _fail(shorten(str(error.message)))
        except ServiceRequestError as error:
            raise ProviderError(
                f"no Azure credentials: {shorten(str(error.message))}", kind="network", status=503
            ) from None
        except AzureError as error:
            raise ProviderError(
                f"no Azure credentials: {shorten(str(error.message))}", kind="overloaded", status=503
            ) from None
        except (ValueError, OSError) as error:
            _fail(shorten(str(error)))
        return CloudToken(token.token, max(_SHORTEST_S, token.expires_on - time.time()))

    def _credential(self) -> Credential:
        asked = self._credentials
        if asked.source == "managed_identity":
            return ManagedIdentityCredential(client_id=asked.client_id)
        if asked.source == "default":
            return DefaultAzureCredential(managed_identity_client_id=asked.client_id)
        if asked.token_file is None and not os.environ.get("AZURE_FEDERATED_TOKEN_FILE"):
            _fail("AZURE_FEDERATED_TOKEN_FILE is not set, and azure_federated_token_file names no file either")
        return WorkloadIdentityCredential(
            tenant_id=asked.tenant_id or os.environ.get("AZURE_TENANT_ID"),
            client_id=asked.client_id or os.environ.get("AZURE_CLIENT_ID"),
            token_file_path=asked.token_file or os.environ.get("AZURE_FEDERATED_TOKEN_FILE"),
            **({} if asked.authority is None else {"authority": asked.authority}),
            # An authority of one's own, which the environment may name too, is not looked up at Microsoft.
            disable_instance_discovery=bool(asked.authority or os.environ.get("AZURE_AUTHORITY_HOST")),
        )


def _fail(words: str) -> NoReturn:
    raise ProviderError(f"no Azure credentials: {words}", kind="auth", status=401) from None
