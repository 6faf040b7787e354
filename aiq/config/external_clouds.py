"""The sections of the clouds: Amazon Bedrock and Vertex AI, with the credentials that the machine itself may have.

Reads and checks; finds no credential and knows no wire format.
"""

from __future__ import annotations

import re
from typing import Literal, cast

from aiq.config.cloud import AwsCredentials, AwsSource, AzureCredentials, GoogleCredentials
from aiq.config.connections import BedrockConfig, VertexConfig
from aiq.config.document import Node
from aiq.config.external_fields import Members, read_api_base, read_key, read_path, read_region, read_url, url_name
from aiq.config.secrets import SecretStore, read_secret

BEDROCK_OWN = (
    "api_base",
    "api_key",
    "api_key_plaintext",
    "aws_session_token",
    "aws_session_token_plaintext",
    "credentials",
    "aws_profile",
    "aws_role_arn",
    "aws_role_session_name",
    "aws_external_id",
    "aws_web_identity_token_file",
)
"""Fields of `aiq` for Bedrock, by AWS's own names."""

OPENAI_OWN = ("authority", "azure_federated_token_file", "credentials", "responses")
"""Fields of `aiq` for OpenAI and Azure."""
VERTEX_OWN = ("api_base", "credentials", "google_credentials_file")
"""Fields of `aiq` for Vertex AI."""

AWS_SOURCES = ("default", "environment", "container", "instance")
GOOGLE_SOURCES = ("default", "metadata")
AZURE_SOURCES = ("managed_identity", "workload_identity", "default")
BEDROCK_MAKERS = (
    "anthropic", "cohere", "ai21labs", "amazon", "grok",  # Databricks' list
    "deepseek", "google", "luma", "meta", "minimax", "mistral", "moonshot", "nvidia", "openai", "qwen", "twelvelabs",
    "writer", "zai",
)  # fmt: skip
_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:[!-~]{1,2048}")
_SESSION_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{2,64}")
_WAYS = (
    "aws_access_key_id and aws_secret_access_key, instance_profile_arn, or in aiq of the served entity one of api_key "
    "(a Bedrock API key), credentials (default, environment, container, instance), aws_profile and "
    "aws_web_identity_token_file"
)


def read_bedrock(node: Node, own: Members, store: SecretStore) -> BedrockConfig:
    """`amazon_bedrock_config`."""
    pair = ("aws_access_key_id", "aws_secret_access_key")
    plain = tuple(f"{name}_plaintext" for name in pair)
    known = ("aws_region", "bedrock_provider", *pair, *plain, "instance_profile_arn", "uc_service_credential_name")
    members = node.fields(known)
    if "uc_service_credential_name" in members:
        members["uc_service_credential_name"].refuse(f"works on Databricks only; give {_WAYS}")
    region = read_region(node.required(members, "aws_region", "a region such as us-east-1"))
    vendor = node.required(members, "bedrock_provider", f"one of {', '.join(BEDROCK_MAKERS)}").choice(BEDROCK_MAKERS)
    has_pair = any(name.removesuffix("_plaintext") in pair for name in members)
    api_key = any(name.startswith("api_key") for name in own)
    ways: list[str] = [name for name in ("credentials", "aws_profile", "aws_web_identity_token_file") if name in own]
    ways += ["instance_profile_arn"] * ("instance_profile_arn" in members) + ["aws_access_key_id"] * has_pair
    ways += ["api_key"] * api_key
    if not ways:
        node.missing("aws_access_key_id", f"give exactly one of {_WAYS}")
    if len(ways) > 1:
        node.fail(f"takes only one of {' and '.join(ways)}")
    way = ways[0]
    identity, secret = (read_key(node, members, name, store) for name in pair) if has_pair else (None, None)
    session = next(
        (read_secret(own[name], own, "aws_session_token", store) for name in own if "session_token" in name), None
    )
    if session is not None and not has_pair:
        own[next(name for name in own if "session_token" in name)].fail("belongs to aws_access_key_id")
    key = next((read_secret(own[name], own, "api_key", store) for name in own if name.startswith("api_key")), None)
    return BedrockConfig(
        region,
        vendor,
        identity,
        secret,
        key,
        read_api_base(own),
        session_token=session,
        credentials=_credentials(way, members, own),
    )


def _credentials(way: str, members: Members, own: Members) -> AwsCredentials | None:
    """What has to be looked for or exchanged; None where the file's own keys are used as they are."""
    role = own.get("aws_role_arn")
    for name in ("aws_role_session_name", "aws_external_id"):
        if name in own and role is None:
            own[name].fail("belongs to aws_role_arn, which is not given")
    if role is not None and way == "api_key":
        role.fail("cannot be assumed with an API key; it takes keys, a profile, credentials or a token file")
    if role is None and way == "aws_access_key_id":
        return None
    source: AwsSource
    if way == "credentials":
        source = cast(AwsSource, own[way].choice(AWS_SOURCES))
    elif way == "api_key":
        return None
    elif way == "aws_web_identity_token_file":
        source = "web_identity"
        if role is None:
            own[way].fail("needs aws_role_arn next to it, the role that the token is exchanged for")
        if "aws_external_id" in own:
            own["aws_external_id"].fail("cannot stand next to aws_web_identity_token_file, which AWS takes without it")
    else:
        source = {"aws_profile": "profile", "instance_profile_arn": "instance", "aws_access_key_id": "keys"}[way]  # type: ignore[assignment]
    profile, external_id = (own[name].text() if name in own else None for name in ("aws_profile", "aws_external_id"))
    file = own.get("aws_web_identity_token_file")
    session_name = own.get("aws_role_session_name")
    if session_name is not None and not _SESSION_NAME.fullmatch(session_name.text()):
        session_name.fail("takes 2 to 64 letters, digits and the signs _+=,.@-")
    return AwsCredentials(
        source,
        instance_profile_arn=_arn(members["instance_profile_arn"]) if "instance_profile_arn" in members else None,
        role_arn=None if role is None else _arn(role),
        role_session_name="aiq" if session_name is None else session_name.text(),
        profile=profile,
        external_id=external_id,
        web_identity_token_file=None if file is None else read_path(file),
    )


def _arn(node: Node) -> str:
    arn = node.text()
    if not _ARN.fullmatch(arn):
        node.fail("expected an ARN such as arn:aws:iam::123456789012:role/name")
    return arn


def read_vertex(node: Node, own: Members, store: SecretStore) -> VertexConfig:
    """`google_cloud_vertex_ai_config`."""
    members = node.fields(("project_id", "region", "private_key", "private_key_plaintext"))
    project = url_name(node.required(members, "project_id", "the project's id"))
    region = read_region(node.required(members, "region", "a region such as us-central1, or global"))
    assert project is not None
    has_key = any(name.startswith("private_key") for name in members)
    credentials = _google_credentials(own)
    if credentials is None and not has_key:
        node.missing(
            "private_key",
            "give exactly one of private_key and private_key_plaintext, or in aiq of the served entity credentials "
            "(default, metadata) or google_credentials_file",
        )
    if credentials is not None and has_key:
        node.fail("takes only one of private_key and the credentials in aiq of the served entity")
    key = read_key(node, members, "private_key", store, document=True) if has_key else None
    return VertexConfig(project, region, key, read_api_base(own), credentials)


def _google_credentials(own: Members) -> GoogleCredentials | None:
    source, file = own.get("credentials"), own.get("google_credentials_file")
    if source is not None and file is not None:
        file.fail("cannot stand next to credentials; give one of both")
    if file is not None:
        return GoogleCredentials("file", read_path(file))
    if source is None:
        return None
    return GoogleCredentials(cast(Literal["default", "metadata"], source.choice(GOOGLE_SOURCES)))


def read_azure_credentials(members: Members, own: Members, kind: str) -> AzureCredentials | None:
    """`aiq.credentials` of an `openai_config`, with the names that Databricks has for an identity."""
    if "credentials" not in own:
        if "azure_federated_token_file" in own:
            own["azure_federated_token_file"].fail("belongs to credentials: workload_identity, which is not given")
        return None
    source = own["credentials"].choice(AZURE_SOURCES)
    if kind != "azuread":
        own["credentials"].fail("belongs to openai_api_type azuread")
    for name in ("microsoft_entra_client_secret", "microsoft_entra_client_secret_plaintext"):
        if name in members:
            members[name].fail("is not needed with aiq.credentials; give one of both")
    workload = ("azure_federated_token_file", own), ("authority", own), ("microsoft_entra_tenant_id", members)
    for name, place in workload:
        if name in place and source != "workload_identity":
            place[name].fail("belongs to credentials: workload_identity")
    file = own.get("azure_federated_token_file")
    authority = own.get("authority")
    return AzureCredentials(
        cast(Literal["managed_identity", "workload_identity", "default"], source),
        client_id=url_name(members.get("microsoft_entra_client_id")),
        tenant_id=url_name(members.get("microsoft_entra_tenant_id")),
        token_file=None if file is None else read_path(file),
        authority=None if authority is None else read_url(authority, query=False).rstrip("/"),
    )
