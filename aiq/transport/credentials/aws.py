"""AWS: keys that botocore finds (environment, profile, container, instance), and roles that STS gives keys for.

Source: the AWS SDKs' reference ("Standardized credential providers"), the STS API reference, the instance metadata
service's version 2.
"""

from __future__ import annotations

import os
import time
import urllib.request
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

import botocore.session
import orjson
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
)

from aiq.config.cloud import AwsCredentials
from aiq.config.connections import BedrockConfig
from aiq.errors import ErrorKind, ProviderError
from aiq.providers.base import CloudToken
from aiq.providers.wire.errors import shorten
from aiq.providers.wire.http import kind_of_status

_REREAD_S = 900.0
"""Keys that say nothing of an end are looked for again after half of that: a file of keys may be written anew."""
_LEFT_S = (3600, 1800, 900, 600, 300, 120, 60, 30, 10)
_METHODS = {"environment": "env", "container": "container-role", "instance": "iam-role"}
"""botocore's names of its providers."""
_OF_THE_MACHINE = ("container-role", "iam-role")
_METADATA = "http://169.254.169.254/"


class AwsSource:
    """Gives the keys of one served entity. Each call looks again, so rotated files and roles are taken up."""

    def __init__(self, config: BedrockConfig, credentials: AwsCredentials) -> None:
        self._config, self._credentials = config, credentials

    def __call__(self) -> CloudToken:
        try:
            if self._credentials.source == "web_identity":
                return self._exchanged()
            session = botocore.session.Session(profile=self._credentials.profile)
            if session.get_config_variable("region") is None:
                session.set_config_variable("region", self._config.region)
            found = self._found(session)
            if self._credentials.role_arn is None:
                return found
            return self._assumed(session, found)
        except ClientError as error:
            _refused(error)
        except (ConnectionError, HTTPClientError) as error:
            raise ProviderError(f"no AWS credentials: {shorten(str(error))}", kind="network", status=503) from None
        except BotoCoreError as error:
            _fail(shorten(str(error)))

    def _found(self, session: Any) -> CloudToken:
        """The keys that are there, before a role is assumed."""
        config, wanted = self._config, self._credentials
        if wanted.source == "keys":
            assert config.access_key_id is not None and config.secret_access_key is not None
            token = "" if config.session_token is None else config.session_token.reveal()
            return CloudToken(token, _REREAD_S, config.access_key_id.reveal(), config.secret_access_key.reveal())
        if wanted.source in _METHODS:
            provider = session.get_component("credential_provider").get_provider(_METHODS[wanted.source])
            found = provider.load()
        else:
            found = session.get_credentials()
        if found is None or (wanted.source == "profile" and found.method in _OF_THE_MACHINE):
            _fail(_NOTHING[wanted.source].format(wanted.profile))
        if wanted.instance_profile_arn is not None:
            _check_profile(wanted.instance_profile_arn)
        keys, left_s = found.get_frozen_credentials(), _REREAD_S
        if isinstance(found, RefreshableCredentials):
            left_s = next((float(left) for left in _LEFT_S if not found.refresh_needed(left)), 5.0)
        return CloudToken(keys.token or "", left_s, keys.access_key, keys.secret_key)

    def _assumed(self, session: Any, found: CloudToken) -> CloudToken:
        client = self._sts(
            session,
            aws_access_key_id=found.key_id,
            aws_secret_access_key=found.secret,
            aws_session_token=found.token or None,
        )
        more = {} if self._credentials.external_id is None else {"ExternalId": self._credentials.external_id}
        return _token_of(client.assume_role(**self._role(), **more))

    def _exchanged(self) -> CloudToken:
        path = self._credentials.web_identity_token_file or ""
        try:
            with open(path, encoding="utf-8") as file:
                token = file.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            _fail(f"the token file {path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}")
        client = self._sts(botocore.session.Session(), signature_version=UNSIGNED)
        return _token_of(client.assume_role_with_web_identity(**self._role(), WebIdentityToken=token))

    def _role(self) -> dict[str, str]:
        assert self._credentials.role_arn is not None
        return {"RoleArn": self._credentials.role_arn, "RoleSessionName": self._credentials.role_session_name}

    def _sts(self, session: Any, signature_version: Any = None, **keys: Any) -> Any:
        """A client of the region's own STS. Its address may be set as for every AWS SDK (AWS_ENDPOINT_URL_STS)."""
        settings = Config(
            signature_version=signature_version,
            connect_timeout=5,
            read_timeout=10,
            retries={"total_max_attempts": 2, "mode": "standard"},
        )
        return session.create_client("sts", region_name=self._config.region, config=settings, **keys)


_NOTHING = {
    "default": "none was found; AWS's SDKs look in the environment, in ~/.aws and at the metadata service",
    "environment": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set",
    "profile": "profile {} has none of its own, and those of the machine are not taken instead",
    "container": "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI is not set: this is no ECS task or EKS pod",
    "instance": "the instance metadata service gives none: this is no EC2 instance, or it has no instance profile",
}


def _token_of(answer: dict[str, Any]) -> CloudToken:
    keys = answer["Credentials"]
    now = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return CloudToken(
        keys["SessionToken"], _seconds_left(keys["Expiration"], now), keys["AccessKeyId"], keys["SecretAccessKey"]
    )


def _check_profile(arn: str) -> None:
    """Raises ProviderError where the instance has another profile than the configuration says."""
    base = (os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or _METADATA).rstrip("/")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        asked = urllib.request.Request(
            f"{base}/latest/api/token", method="PUT", headers={"x-aws-ec2-metadata-token-ttl-seconds": "60"}
        )
        with opener.open(asked, timeout=2) as answer:
            token = answer.read().decode()
        asked = urllib.request.Request(f"{base}/latest/meta-data/iam/info", headers={"x-aws-ec2-metadata-token": token})
        with opener.open(asked, timeout=2) as answer:
            own = orjson.loads(answer.read())["InstanceProfileArn"]
    except (OSError, ValueError, KeyError, TypeError):
        _fail("the instance metadata service does not say which instance profile this machine has")
    if own != arn:
        _fail(f"this machine has the instance profile {own}, not {arn}")


def _seconds_left(ends: datetime, date: str | None) -> float:
    """By AWS's own clock where it says what time it is."""
    try:
        now_s = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        now_s = time.time()
    return max(5.0, ends.timestamp() - now_s)


def _refused(error: ClientError) -> NoReturn:
    """What STS says, which names the role and who asked, and no secret."""
    details = error.response.get("Error", {})
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 502)
    throttled = "Throttl" in str(details.get("Code"))
    kind: ErrorKind = "rate_limited" if throttled else "auth" if 400 <= status < 500 else kind_of_status(status)
    words = shorten(f"{details.get('Code')}: {details.get('Message')}")
    raise ProviderError(f"no AWS credentials: {words}", kind=kind, status=status) from None


def _fail(words: str) -> NoReturn:
    raise ProviderError(f"no AWS credentials: {words}", kind="auth", status=401) from None
