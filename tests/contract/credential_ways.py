"""The credentials that a served entity may name, in the fields of an endpoint file: docs/providers.md lists them."""

from __future__ import annotations

from typing import Any, NamedTuple

ROLE = "arn:aws:iam::123456789012:role/models"
AZURE = {
    "openai_api_type": "azuread",
    "openai_api_base": "https://r.openai.azure.com",
    "openai_api_version": "2024-10-21",
    "openai_deployment_name": "d",
}
APP = {"microsoft_entra_tenant_id": "t", "microsoft_entra_client_id": "c"}
PAIR = {"aws_access_key_id": "{{secrets/aws/id}}", "aws_secret_access_key": "{{secrets/aws/key}}"}
SECTIONS = {
    "amazon-bedrock": ("amazon_bedrock_config", {"aws_region": "us-east-1", "bedrock_provider": "anthropic"}),
    "google-cloud-vertex-ai": ("google_cloud_vertex_ai_config", {"project_id": "p", "region": "global"}),
    "openai": ("openai_config", AZURE),
}


class Way(NamedTuple):
    """`section` is what the provider's section has for it, `own` what `aiq` of the served entity has."""

    provider: str
    what: str
    section: dict[str, Any]
    own: dict[str, Any]
    extra: str = ""

    @property
    def fields(self) -> str:
        """The fields, in an endpoint file's words."""
        own = [f"aiq.{name}: {value}" if name == "credentials" else f"aiq.{name}" for name, value in self.own.items()]
        return ", ".join(f"`{field}`" for field in (*self.section, *own))


WAYS = (
    Way("amazon-bedrock", "a key pair", PAIR, {}),
    Way("amazon-bedrock", "a temporary key pair", PAIR, {"aws_session_token": "{{secrets/aws/token}}"}),
    Way("amazon-bedrock", "a Bedrock API key", {}, {"api_key": "{{secrets/aws/bedrock}}"}),
    Way("amazon-bedrock", "the order of AWS's SDKs", {}, {"credentials": "default"}, "bedrock"),
    Way("amazon-bedrock", "environment variables", {}, {"credentials": "environment"}, "bedrock"),
    Way("amazon-bedrock", "a profile of ~/.aws", {}, {"aws_profile": "team"}, "bedrock"),
    Way("amazon-bedrock", "an ECS task or EKS pod", {}, {"credentials": "container"}, "bedrock"),
    Way("amazon-bedrock", "an EC2 instance", {}, {"credentials": "instance"}, "bedrock"),
    Way(
        "amazon-bedrock",
        "an EC2 instance with this profile",
        {"instance_profile_arn": "arn:aws:iam::123456789012:instance-profile/models"},
        {},
        "bedrock",
    ),
    Way(
        "amazon-bedrock",
        "a token file that STS exchanges",
        {},
        {"aws_web_identity_token_file": "/var/run/token", "aws_role_arn": ROLE},
        "bedrock",
    ),
    Way(
        "amazon-bedrock",
        "a role, with any of these but an API key",
        PAIR,
        {"aws_role_arn": ROLE, "aws_external_id": "partner", "aws_role_session_name": "nightly"},
        "bedrock",
    ),
    Way("google-cloud-vertex-ai", "a service account's key", {"private_key": "{{secrets/gcp/key}}"}, {}),
    Way("google-cloud-vertex-ai", "application default credentials", {}, {"credentials": "default"}, "vertex"),
    Way("google-cloud-vertex-ai", "the metadata server", {}, {"credentials": "metadata"}, "vertex"),
    Way(
        "google-cloud-vertex-ai",
        "a credential file: a user's, a service account's, a federated workload's",
        {},
        {"google_credentials_file": "/etc/aiq/workload.json"},
        "vertex",
    ),
    Way(
        "openai",
        "Azure: an application of Entra",
        {**APP, "microsoft_entra_client_secret": "{{secrets/azure/secret}}"},
        {},
    ),
    Way("openai", "Azure: the machine's managed identity", {}, {"credentials": "managed_identity"}, "azure"),
    Way(
        "openai",
        "Azure: a user-assigned identity",
        {"microsoft_entra_client_id": "c"},
        {"credentials": "managed_identity"},
        "azure",
    ),
    Way("openai", "Azure: a pod's token", APP, {"credentials": "workload_identity"}, "azure"),
    Way("openai", "Azure: the order of its SDK", {}, {"credentials": "default"}, "azure"),
)


def ways_section() -> list[str]:
    """The table of docs/providers.md."""
    lines = [
        "## Credentials",
        "",
        "What an endpoint file names is looked for, and nothing else. An extra brings the cloud's own SDK: it looks in",
        "a thread, once for all rows that wait, and again before what it gave ends. A machine's own credentials go to",
        "their cloud; `credential_hosts` in conf/aiq.yml allows another host, such as a company's gateway.",
        "",
        "| Provider | Credential | Fields | Extra |",
        "|---|---|---|---|",
    ]
    for way in WAYS:
        extra = f"`aiq[{way.extra}]`" if way.extra else "-"
        lines.append(f"| {way.provider} | {way.what} | {way.fields} | {extra} |")
    return [*lines, ""]
