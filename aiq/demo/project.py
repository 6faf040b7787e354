"""A folder to start in: endpoint files of a provider with comments, what git leaves alone, and samples to try."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from aiq.config.local import EMBEDDING_BATCH_ROWS, HOST, PARALLEL, PORT, SIMULATOR_PORT
from aiq.demo.sample_files import PIPELINE, lamp
from aiq.errors import ConfigError

SHOP = "shop.duckdb"
_IGNORED = (".aiq/", "*.duckdb.wal")
"""The home holds keys, prompts and answers."""


class ProjectProvider(NamedTuple):
    """How a provider is asked: its model for each task, the lines of its section, and how its key gets there."""

    words: str
    name: str
    models: dict[str, str]
    section: str
    key: tuple[str, ...]
    """Commands that make the key known."""
    to_change: str = ""
    """What in the files is a placeholder."""


PROVIDERS = {
    "openai": ProjectProvider(
        "OpenAI", "openai", {"chat": "gpt-4o-mini", "embeddings": "text-embedding-3-small"},
        'openai_config:\n  openai_api_key: "{{secrets/openai/api_key}}"\n'
        "  # openai_api_base: https://example.com/v1 # another address with OpenAI's API",
        ("export AIQ_SECRET_OPENAI_API_KEY=sk-...",),
    ),
    "anthropic": ProjectProvider(
        "Anthropic", "anthropic", {"chat": "claude-haiku-4-5"},
        'anthropic_config:\n  anthropic_api_key: "{{secrets/anthropic/api_key}}"',
        ("export AIQ_SECRET_ANTHROPIC_API_KEY=sk-ant-...",),
    ),
    "azure": ProjectProvider(
        "Azure OpenAI", "openai", {"chat": "gpt-4o-mini", "embeddings": "text-embedding-3-small"},
        "openai_config:\n  openai_api_type: azure\n  openai_api_base: https://my-resource.openai.azure.com\n"
        '  openai_api_version: "2024-10-21"\n  openai_deployment_name: {model} # as your deployment is called\n'
        '  openai_api_key: "{{secrets/azure/api_key}}"',
        ("export AIQ_SECRET_AZURE_API_KEY=...",),
        "openai_api_base and openai_deployment_name",
    ),
    "bedrock": ProjectProvider(
        "Amazon Bedrock", "amazon-bedrock",
        {"chat": "amazon.nova-lite-v1:0", "embeddings": "amazon.titan-embed-text-v2:0"},
        "amazon_bedrock_config:\n  aws_region: us-east-1\n  bedrock_provider: amazon # who made the model\n"
        '  aws_access_key_id: "{{secrets/aws/key_id}}"\n  aws_secret_access_key: "{{secrets/aws/secret_key}}"',
        ("export AIQ_SECRET_AWS_KEY_ID=...", "export AIQ_SECRET_AWS_SECRET_KEY=..."),
        "aws_region",
    ),
    "vertex": ProjectProvider(
        "Google Vertex AI", "google-cloud-vertex-ai",
        {"chat": "gemini-2.5-flash", "embeddings": "text-embedding-005"},
        "google_cloud_vertex_ai_config:\n  project_id: my-project\n  region: us-central1 # or global\n"
        '  private_key: "{{secrets/google/service_account}}" # the whole key file of a service account',
        ('export AIQ_SECRET_GOOGLE_SERVICE_ACCOUNT="$(cat key.json)"',),
        "project_id and region",
    ),
    "local": ProjectProvider(
        "the models of `aiq local up` on this machine, which write fluently and judge badly", "custom",
        {"chat": "SmolLM2-135M-Instruct.Q4_1", "embeddings": "multilingual-e5-small-q4"},
        "custom_provider_config:\n  custom_provider_url: {local}/v1",
        ("aiq local up                 # runs until aiq local down",),
    ),
    "simulate": ProjectProvider(
        "the simulator of `aiq simulate`, whose answers are made up", "openai",
        {"chat": "gpt-4o-mini", "embeddings": "text-embedding-3-small"},
        "openai_config:\n  openai_api_base: {url}/v1\n  openai_api_key_plaintext: simulated",
        ("aiq simulate                 # in a terminal of its own, while you work",),
    ),
}  # fmt: skip
SIMULATOR_URL = f"http://{HOST}:{SIMULATOR_PORT}"
_LOCAL_URLS = {"chat": f"http://{HOST}:{PORT}", "embeddings": f"http://{HOST}:{PORT + 1}"}

_TASKS = {"chat": "llm/v1/chat", "embeddings": "llm/v1/embeddings"}
_USES = {
    "chat": "SELECT ai_query('chat', 'Say hello')",
    "embeddings": "SELECT ai_query('embeddings', body) FROM reviews",
}
_WHERE = """\
# {{secrets/<scope>/<key>}} is looked for in this order:
#   1. the environment variable AIQ_SECRET_<SCOPE>_<KEY>
#   2. the file secrets/<scope>/<key> in the home, .aiq (chmod 600; its folders 700)
#   3. the system keyring: keyring set aiq/<scope> <key>
"""
_LIMITS = """\
  inference_table_config: {enabled: true, catalog_name: main, schema_name: aiq} # prompts and answers, kept in .aiq
  # rate_limits: [{calls: 600, key: user, renewal_period: minute}] # a batch waits for its turn
  # guardrails: {input: {pii: {behavior: MASK}}} # personal data does not leave (pip install 'aiq[guardrails]')
"""
_ENDPOINT = """\
# {words}. Use it with: {use}
{where}name: {name}
config:
  served_entities: # several are asked by share, or one after the other when one fails
    - external_model:
        name: {model}
        provider: {provider}
        task: {task}
{section}
ai_gateway:
  usage_tracking_config: {{enabled: true}} # system.serving.endpoint_usage
{limits}"""
_SETTINGS = """\
# Settings that are not the endpoints' own; every line is optional, and without one its default holds.
# concurrency: 64              # requests in flight for each served entity
# timeout_s: 300               # for one attempt
# prices:                      # US dollars per million tokens, for a model whose price is not known
#   my-model: {input_per_mtok: 0.15, output_per_mtok: 0.60}
# endpoints:
#   chat: {reuse: durable 7 days}  # an answer serves again for a week
"""
_LOCAL_LIMITS = {
    "chat": f"{{concurrency: {PARALLEL}}}",
    "embeddings": f"{{concurrency: 1, embedding_batch_rows: {EMBEDDING_BATCH_ROWS}}}",
}


def local_settings(models: Mapping[str, str]) -> str:
    """What conf/aiq.yml says of the endpoints `chat` and `embeddings`, or one of them, that ask `aiq local`."""
    prices = "".join(f"  {model}: {{input_per_mtok: 0, output_per_mtok: 0}}\n" for model in models.values())
    limits = "".join(f"  {name}: {_LOCAL_LIMITS[name]}\n" for name in models)
    return (
        f"retries: 2 # waiting does not help a model of this machine\nprices: # nothing is paid\n{prices}"
        f"endpoints: # as many requests at once as `aiq local up` works on; more would time out there\n{limits}"
    )


def files_of(provider: str) -> dict[str, str]:
    """The files of a project, by their path in its folder."""
    of = PROVIDERS[provider]
    made = {"conf/aiq.yml": _SETTINGS + (local_settings(of.models) if provider == "local" else "")}
    for name, model in of.models.items():
        section = of.section.replace("{model}", model).replace("{url}", SIMULATOR_URL)
        section = section.replace("{local}", _LOCAL_URLS[name])
        made[f"conf/endpoints/{name}.yml"] = _ENDPOINT.format(
            words=f"{of.words[0].upper()}{of.words[1:]}",
            use=_USES[name],
            where=_WHERE if "{{secrets/" in section else "",
            name=name,
            model=model,
            provider=of.name,
            task=_TASKS[name],
            section="\n".join(f"        {line}" for line in section.splitlines()),
            limits=_LIMITS if name == "chat" else "",
        )
    return made


def start(folder: Path, provider: str, *, sample: bool) -> list[str]:
    """Writes the files of a project, none of which may be there; returns what was written, for a person.

    Raises ConfigError, before anything is written, for the first that is there.
    """
    files = files_of(provider)
    samples = {"pipeline.sql": PIPELINE.encode(), "photos/lamp.png": lamp()} if sample else {}
    for name in [*files, *samples, *([SHOP] if sample else [])]:
        if (folder / name).exists() or (folder / name).is_symlink():
            raise ConfigError(
                "is there already, and nothing was written; `aiq init` starts in a folder without it: give another "
                "one, or delete that file first",
                file=str(folder / name),
            )
    written = []
    for name, content in ({name: text.encode() for name, text in files.items()} | samples).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        written.append(name)
    if _ignored(folder / ".gitignore"):
        written.append(".gitignore")
    if sample:
        from aiq.demo.shop import make_shop

        rows = make_shop(folder / SHOP)
        written.append(f"{SHOP} ({', '.join(f'{count} {name}' for name, count in rows.items())})")
    return written


def _ignored(file: Path) -> bool:
    """Adds to a .gitignore what is not in it. False where there was nothing to add."""
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    missing = [line for line in _IGNORED if line not in before.splitlines()]
    if missing:
        start = "" if not before or before.endswith("\n") else "\n"
        with open(file, "a", encoding="utf-8") as end:
            end.write(start + "".join(f"{line}\n" for line in missing))
    return bool(missing)
