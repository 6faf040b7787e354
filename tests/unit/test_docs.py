"""README and docs: links lead somewhere, pages are short and begin with an example, and nothing is undocumented.

That the examples run is for `tests/conformance/test_docs_examples.py` to say.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml

from aiq.cli.app import app
from aiq.config.endpoint import Settings
from aiq.config.load import load_config
from aiq.errors import ConfigError, ErrorKind
from aiq.functions.model_parameters import Refused, checked_parameters
from aiq.functions.signature import PARAMETERS
from aiq.ledger.records import PAYLOAD_SCHEMA, SYSTEM_TABLES
from aiq.providers.abilities import Abilities
from aiq.request import Task
from aiq.simulator.faults import NAMES
from tests.pages import DOCS, ROOT, Block, blocks

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS]
MAX_LINES = 150
GENERATED = "<!-- The rest is made by tests/"
"""From here on a page is not written by hand."""
WITHOUT_EXAMPLE = {"dialect.md", "scale.md"}
"""Pages that answer with a table: one is made by a test, the other is arithmetic."""

_LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)")
_PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def _names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = _HEADING.findall(_FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=_names(PAGES))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in _LINK.findall(_FENCED.sub("", page.read_text())):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_pictures_of_pages_are_there_small_and_described() -> None:
    found = [(page, *each) for page in PAGES for each in _PICTURE.findall(page.read_text())]
    assert found
    for page, words, name in found:
        png = (page.parent / name).read_bytes()
        assert png.startswith(b"\x89PNG") and len(png) < 150_000 and len(words) > 20


def test_pages_that_the_code_names_exist() -> None:
    folders = [ROOT / name for name in ("aiq", "tests", "conf", "notebooks", "sql")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".yml", ".sql")]
    texts = [path.read_text() for path in files]
    named = {name for text in texts for name in re.findall(r"\bdocs/[\w-]+\.md\b", text)}
    assert {name for name in named if not (ROOT / name).exists()} == set()
    headings = {found for text in texts for found in re.findall(r'"([^"\n]+)" in (docs/[\w-]+\.md)\b', text)}
    assert {
        (title, name) for title, name in headings if title not in _HEADING.findall((ROOT / name).read_text())
    } == set()
    assert named and headings


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=_names([ROOT / "README.md", *DOCS]))
def test_files_and_tests_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(r"\b(?:tests|notebooks|aiq)/[\w/]+\.(?:py|yml|sql)\b", text):
        assert (ROOT / name).exists(), name
    tests = "".join(path.read_text() for path in (ROOT / "tests" / "faults").glob("test_failover_*.py"))
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in tests, name


@pytest.mark.parametrize("page", DOCS, ids=_names(DOCS))
def test_a_page_is_short_and_begins_with_an_example(page: Path) -> None:
    text = page.read_text()
    assert len(text.partition(GENERATED)[0].splitlines()) <= MAX_LINES
    if page.name not in WITHOUT_EXAMPLE:
        assert "```" in "\n".join(text.splitlines()[:20])


def test_readme_is_short_and_names_every_page() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 200
    assert {f"docs/{page.name}" for page in DOCS} - set(_LINK.findall(text)) == set()


# --- Endpoint files and settings: every field that the reader knows stands on its page ------------------------------

_SECRET = "{{secrets/a/b}}"
_SECTIONS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "openai": ("openai_config", {"openai_api_key": _SECRET}, {"responses": True}),
    "custom": (
        "custom_provider_config",
        {"custom_provider_url": "http://h/v1", "api_key_auth": {"key": "X-Key", "value": _SECRET}},
        {},
    ),
    "anthropic": ("anthropic_config", {"anthropic_api_key": _SECRET}, {"api_base": "https://h"}),
    "cohere": ("cohere_config", {"cohere_api_key": _SECRET}, {}),
    "ai21labs": ("ai21labs_config", {"ai21labs_api_key": _SECRET}, {}),
    "palm": ("palm_config", {"palm_api_key": _SECRET}, {}),
    "google-cloud-vertex-ai": (
        "google_cloud_vertex_ai_config",
        {"project_id": "p", "region": "us-central1", "private_key": _SECRET},
        {},
    ),
    "amazon-bedrock": (
        "amazon_bedrock_config",
        {
            "aws_region": "us-east-1", "bedrock_provider": "amazon", "aws_access_key_id": _SECRET,
            "aws_secret_access_key": _SECRET,
        },
        {},
    ),
    "databricks-model-serving": (
        "databricks_model_serving_config",
        {"databricks_workspace_url": "https://h", "databricks_api_token": _SECRET},
        {},
    ),
}  # fmt: skip


def endpoint(provider: str = "openai") -> dict[str, Any]:
    """An endpoint that uses as many sections as one can."""
    section, fields, own = _SECTIONS[provider]
    model = {"name": "m", "provider": provider, "task": "llm/v1/chat", section: fields}
    entity: dict[str, Any] = {"name": "e", "external_model": model, "aiq": {"context_window": 1000, **own}}
    side = {"pii": {"behavior": "MASK"}, "invalid_keywords": ["x"]}
    return {
        "name": "chat",
        "tags": [{"key": "a", "value": "b"}],
        "permissions": [{"level": "CAN_QUERY", "user_name": "ann"}],
        "config": {
            "served_entities": [entity],
            "traffic_config": {"routes": [{"served_entity_name": "e", "traffic_percentage": 100}]},
        },
        "ai_gateway": {
            "fallback_config": {"enabled": True},
            "usage_tracking_config": {"enabled": True},
            "inference_table_config": {"enabled": True, "catalog_name": "c", "schema_name": "s"},
            "rate_limits": [{"calls": 1, "renewal_period": "minute"}],
            "guardrails": {"input": side, "output": side},
            "aiq": {
                "rate_limits": [{"calls": 1, "renewal_period": "hour"}],
                "guardrails": {"safety": {"endpoint": "x"}, "topics": {"endpoint": "x"}, "custom": [{"endpoint": "x"}]},
            },
        },
    }


SETTINGS: dict[str, Any] = {
    "prices": {"m": {"input_per_mtok": 1, "output_per_mtok": 1, "tiers": [
        {"input_per_mtok": 1, "output_per_mtok": 1, "above_input_tokens": 1}]}},
    "endpoints": {"chat": {"model_server": {"url": "http://127.0.0.1:1/invocations"}}},
}  # fmt: skip
_OF_THE_USER = {"prices", "endpoints", "storage_options", "catalogs", "volumes", "service_tiers"}
"""Mappings whose keys are names that the user gives."""
UNKNOWN = "no_such_field"


def with_unknown(value: Any, inside: str = "") -> list[Any]:
    """Copies of a document, each with a field of no name in another one of its mappings."""
    made: list[Any] = []
    if isinstance(value, dict):
        if inside not in _OF_THE_USER:
            made.append({**value, UNKNOWN: 1})
        for key, member in value.items():
            made += [{**value, key: copy} for copy in with_unknown(member, key)]
    elif isinstance(value, list):
        for place, item in enumerate(value):
            made += [[*value[:place], copy, *value[place + 1 :]] for copy in with_unknown(item)]
    return made


def known_fields(folder: Path, file: str, document: dict[str, Any]) -> set[str]:
    """The names that the reader says it knows, in every section of a document."""
    names: set[str] = set()
    path = folder / "conf" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    for copy in with_unknown(document):
        path.write_text(yaml.safe_dump(copy))
        with pytest.raises(ConfigError, match=UNKNOWN) as caught:
            load_config(folder / "conf", folder / "home")
        _, _, known = str(caught.value).partition("Known here: ")
        names |= set(known.strip(" .").split(", "))
    path.unlink()
    return names - {""}


def undocumented(page: str, names: set[str]) -> set[str]:
    """Names that a page does not have as a word in back-ticks or an example. `x_plaintext` goes with `x`."""
    text = (ROOT / "docs" / page).read_text()
    plain = {name.removesuffix("_plaintext") for name in names}
    return {name for name in plain if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)}


@pytest.mark.parametrize("provider", _SECTIONS)
def test_every_field_of_an_endpoint_file_is_documented(provider: str, tmp_path: Path) -> None:
    names = known_fields(tmp_path, "endpoints/chat.yml", endpoint(provider))
    assert len(names) > 60
    assert undocumented("endpoints.md", names) == set()


def test_every_setting_is_documented(tmp_path: Path) -> None:
    names = known_fields(tmp_path, "aiq.yml", SETTINGS)
    assert set(Settings.__dataclass_fields__) <= names
    assert undocumented("settings.md", names) == set()


def test_the_defaults_of_settings_are_those_of_the_page() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `?([\w.]+)`? \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)
    compared = [(name, str(getattr(Settings(), name)).lower().removesuffix(".0"), said) for name, said in rows]
    known = [(name, default, said) for name, default, said in compared if default not in ("none", "()", "{}")]
    assert len(known) >= 13
    assert [row for row in known if row[1] != row[2]] == []


YAML = [(page, block) for page in (ROOT / "README.md", *DOCS) for block in blocks(page) if block.language == "yaml"]


def stub(name: str, hosted: bool = False) -> dict[str, Any]:
    """An endpoint of no interest."""
    model = {**endpoint()["config"]["served_entities"][0]["external_model"], "name": name}
    return {
        "name": name,
        "config": {"served_entities": [{"entity_name": "m"} if hosted else {"external_model": model}]},
    }


@pytest.mark.parametrize(("page", "block"), YAML, ids=[f"{page.stem}-{block.line}" for page, block in YAML])
def test_every_example_of_a_file_is_read(page: Path, block: Block, tmp_path: Path) -> None:
    """A file, a part of an endpoint (`ai_gateway`), or a served entity."""
    said = yaml.safe_load(block.text)
    files: dict[str, Any] = {f"endpoints/{name}.yml": stub(name) for name in ("llama-guard", "judge", "house-rules")}
    if isinstance(said, list):
        files["endpoints/chat.yml"] = {"name": "chat", "config": {"served_entities": said}}
    elif "ai_gateway" in said and "config" not in said:
        files["endpoints/chat.yml"] = {**stub("chat"), **said}
    elif said.keys() & {"config", "resources"}:
        files["endpoints/chat.yml"] = said
    else:
        files["aiq.yml"] = said
        for name, own in said.get("endpoints", {}).items():
            files[f"endpoints/{name}.yml"] = stub(name, hosted="model_server" in own)
    for name, document in files.items():
        path = tmp_path / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(document))
    assert load_config(tmp_path / "conf", tmp_path / "home").endpoints


# --- Tables and arguments -------------------------------------------------------------------------------------------

TABLES = {**SYSTEM_TABLES, "<catalog>.<schema>.<prefix>_payload": PAYLOAD_SCHEMA}


@pytest.mark.parametrize("table", TABLES)
def test_every_column_of_a_table_is_documented_and_no_other(table: str) -> None:
    (page,) = [text for text in (each.read_text() for each in DOCS) if f"\n## `{table}`\n" in text]
    section = page[page.index(f"\n## `{table}`\n") + 4 :].partition("\n## ")[0]
    documented = [name for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for name in row.split(", ")]
    assert sorted(documented) == sorted(f"`{name}`" for name in TABLES[table].names)


def test_every_argument_is_documented_with_an_example() -> None:
    page = ROOT / "docs" / "arguments.md"
    headings = " ".join(_HEADING.findall(page.read_text()))
    examples = " ".join(block.text for block in blocks(page))
    assert [name for name in PARAMETERS if f"`{name}`" not in headings] == []
    assert [name for name in PARAMETERS if f"{name} " not in examples] == []


def test_every_command_is_documented_and_no_other() -> None:
    documented = re.findall(r"`(aiq (?!COMMAND)[\w ]+)`", (ROOT / "docs" / "commands.md").read_text())
    assert sorted(set(documented)) == sorted(_commands("aiq", app))


def _commands(name: str, group: typer.Typer) -> list[str]:
    found = [f"{name} {command.name or command.callback.__name__}" for command in group.registered_commands]  # type: ignore[union-attr]
    for below in group.registered_groups:
        assert below.typer_instance is not None
        found += _commands(f"{name} {below.name}", below.typer_instance)
    return found


def test_every_shipped_analysis_is_documented() -> None:
    text = (ROOT / "docs" / "telemetry.md").read_text()
    assert [path.name for path in (ROOT / "sql").glob("*.sql") if f"`{path.name}`" not in text] == []


def test_every_class_of_error_is_in_the_table_of_retries() -> None:
    text = (ROOT / "docs" / "gateway.md").read_text()
    classes = set(get_args(ErrorKind)) - {"adapted"}  # which no answer ends with
    assert {name for name in classes if f"`{name}`" not in text} == set()


def test_every_fault_of_the_simulator_is_documented() -> None:
    text = (ROOT / "docs" / "simulator.md").read_text()
    assert {name for name in NAMES if not re.search(rf"(?<![\w-]){name}(?!\w|-(?!<ms>))", text)} == set()


@pytest.mark.parametrize(
    ("row", "tasks"),
    [
        ("chat and completions", ("llm/v1/chat", "llm/v1/completions")),
        ("chat only", ("llm/v1/chat",)),
        ("completions only", ("llm/v1/completions",)),
        ("embeddings", ("llm/v1/embeddings",)),
    ],
)
def test_model_parameters_are_those_of_their_task(row: str, tasks: tuple[Task, ...]) -> None:
    text = (ROOT / "docs" / "arguments.md").read_text()
    (cell,) = re.findall(rf"^\| {row} \| (.+) \|$", text, re.MULTILINE)
    names = re.findall(r"`(\w+)`", cell)
    assert len(names) > 1
    for task in tasks:
        assert checked_parameters(dict.fromkeys(names), task=task, providers={"openai": Abilities()}) == {}
    with pytest.raises(Refused):
        checked_parameters({"no_such": None}, task=tasks[0], providers={"openai": Abilities()})


PYTHON = [(page, block) for page in (ROOT / "README.md", *DOCS) for block in blocks(page) if block.language == "python"]


@pytest.mark.parametrize(("page", "block"), PYTHON, ids=[f"{page.stem}-{block.line}" for page, block in PYTHON])
def test_python_of_the_pages_is_python(page: Path, block: Block) -> None:
    compile(block.text, f"{page.name}:{block.line}", "exec")
