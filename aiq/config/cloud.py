"""Credentials that stand in no file of ours: what the SDK of a cloud finds on a machine, or exchanges for others.

Plain values that say where to look. Looks nowhere itself, and imports no SDK.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

AwsSource = Literal["keys", "default", "environment", "profile", "container", "instance", "web_identity"]


@dataclass(frozen=True, slots=True)
class AwsCredentials:
    """Where AWS credentials come from, and the role that is assumed with them.

    `keys` are those of the section; `default` is the order of AWS's own SDKs. `instance_profile_arn` is what the
    machine's profile must be.
    """

    source: AwsSource
    profile: str | None = None
    instance_profile_arn: str | None = None
    role_arn: str | None = None
    role_session_name: str = "aiq"
    external_id: str | None = None
    web_identity_token_file: str | None = None


@dataclass(frozen=True, slots=True)
class GoogleCredentials:
    """Where Google's access tokens come from: application default credentials, a file, the metadata server."""

    source: Literal["default", "file", "metadata"]
    file: str | None = None


@dataclass(frozen=True, slots=True)
class AzureCredentials:
    """Where Azure's access tokens come from; what is None is the environment's. `authority` is None for Microsoft's."""

    source: Literal["managed_identity", "workload_identity", "default"]
    client_id: str | None = None
    tenant_id: str | None = None
    token_file: str | None = None
    authority: str | None = None


_EXTRAS = {
    AwsCredentials: ("bedrock", "botocore"),
    GoogleCredentials: ("vertex", "google.auth"),
    AzureCredentials: ("azure", "azure.identity"),
}


def missing_file(config: object) -> str | None:
    """A token or credential file that is named and not there; None where nothing is missing."""
    credentials = getattr(config, "credentials", None)
    paths = [getattr(credentials, name, None) for name in ("web_identity_token_file", "file", "token_file")]
    lost = next((path for path in paths if path is not None and not os.path.isfile(path)), None)
    return None if lost is None else f"takes its credentials from {lost}, and there is no such file here"


def missing_extra(config: object) -> str | None:
    """What to install for a provider's configuration that needs a cloud's SDK; None where nothing is missing."""
    credentials = getattr(config, "credentials", None)
    if credentials is None:
        return None
    extra, package = _EXTRAS[type(credentials)]
    try:
        found = find_spec(package) is not None
    except (ModuleNotFoundError, ValueError):  # of a package within a package, or one that was taken out
        found = False
    return (
        None
        if found
        else f"needs the package {package.replace('.', '-')} for its credentials: pip install 'aiq[{extra}]'"
    )
