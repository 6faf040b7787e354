"""`aiq endpoints`: what the configuration says, and whether it is right. Never shows a secret."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aiq.cli.options import Conf, Home, home_folder
from aiq.cli.printable import printable

if TYPE_CHECKING:
    from aiq.config.endpoint import Endpoint
    from aiq.config.secrets import SecretStore
    from aiq.config.settings import SettingsFile

endpoints = typer.Typer(
    help="The serving endpoints: list, show, validate; the schema of their files.", no_args_is_help=True
)


@endpoints.command("list")
def list_endpoints(conf: Conf = None, home: Home = None) -> None:
    """Show every endpoint with its task, its models and the file it stands in."""
    from aiq.config.load import load_config

    config = load_config(conf, home_folder(home))
    if not config.endpoints:
        print(f"no endpoint in {os.path.join(config.folder, 'endpoints')}; `aiq init` writes files to start with")
        return
    from aiq.cli.show import console, empty_grid

    grid = empty_grid()
    for column in ("endpoint", "task", "served entities", "file"):
        grid.add_column(column, overflow="fold")
    for endpoint in config.endpoints.values():
        entities = ", ".join(f"{e.provider}/{e.model} {e.traffic_percentage} %" for e in endpoint.entities)
        grid.add_row(
            endpoint.name,
            endpoint.task,
            entities,
            f"{endpoint.file}:{endpoint.line}" if endpoint.file else "aiq local up",
        )
    console().print(grid)


@endpoints.command()
def show(name: Annotated[str, typer.Argument(help="The endpoint.")], conf: Conf = None, home: Home = None) -> None:
    """Show an endpoint as JSON, as Databricks' REST API does."""
    import json

    from aiq.config.describe import describe_endpoint
    from aiq.config.load import load_config
    from aiq.config.nearest import nearest
    from aiq.errors import ConfigError

    config = load_config(conf, home_folder(home))
    if name not in config.endpoints:
        raise ConfigError(f"there is no endpoint {name!r}.{nearest(name, config.endpoints)} See `aiq endpoints list`")
    print(json.dumps(describe_endpoint(config.endpoints[name]), indent=2, ensure_ascii=False))


@endpoints.command()
def schema(
    settings: Annotated[bool, typer.Option("--settings", help="Of conf/aiq.yml, not of conf/endpoints.")] = False,
) -> None:
    """Show the JSON Schema of endpoint files, with which an editor completes them and marks what is wrong.

    Save it, and say in the first line of a file: # yaml-language-server: $schema=<where it is>
    """
    import json

    from aiq.config.schema import endpoint_schema, settings_schema

    print(json.dumps(settings_schema() if settings else endpoint_schema(), indent=2))


@endpoints.command()
def validate(
    path: Annotated[
        Path | None, typer.Argument(help="A folder of configuration, or one endpoint file. [default: as --conf]")
    ] = None,
    conf: Conf = None,
    home: Home = None,
) -> None:
    """Check the files: every one is named with ok, or with file, line, field and what was expected.

    A secret that is not there yet is a warning. Exit code 1 when a file is wrong.
    """
    from aiq.config.secrets import SecretStore

    store = SecretStore(home_folder(home))
    place = path or conf or Path(os.environ.get("AIQ_CONF") or "conf")
    if not place.exists():
        print(f"{place}: there is no such file or folder")
        raise typer.Exit(1)
    errors = _validate_folder(place, store) if place.is_dir() else _validate_file(place, store)
    if errors:
        print(f"{errors} error{'s' if errors > 1 else ''}")
        raise typer.Exit(1)


def _validate_folder(folder: Path, store: SecretStore) -> int:
    """Each file by itself first, so that one mistake does not hide the next; then all of them together."""
    from aiq.config.load import endpoint_files, read_folder
    from aiq.errors import ConfigError

    settings_path = folder / "aiq.yml"
    settings, errors = _settings(settings_path, store)
    if settings_path.exists() and not errors:
        print(f"{settings_path}: ok")
    files = endpoint_files(str(folder / "endpoints"))
    for file in files:
        errors += _validate_endpoints(file, store, settings)
    if not files:
        print(f"{folder / 'endpoints'}: no endpoint files")
    if not errors:
        try:
            read_folder(str(folder), store)
        except ConfigError as error:
            print(printable(str(error)))
            return 1
    return errors


def _validate_file(file: Path, store: SecretStore) -> int:
    """One endpoint file, with the settings of the folder it belongs to."""
    settings, errors = _settings(file.absolute().parent.parent / "aiq.yml", store)
    return errors + _validate_endpoints(str(file), store, settings)


def _settings(path: Path, store: SecretStore) -> tuple[SettingsFile | None, int]:
    from aiq.config.settings import read_settings
    from aiq.errors import ConfigError

    try:
        return read_settings(str(path), store), 0
    except ConfigError as error:
        print(printable(str(error)))
        return None, 1


def _validate_endpoints(file: str, store: SecretStore, settings: SettingsFile | None) -> int:
    from aiq.config.endpoints import read_endpoints
    from aiq.errors import ConfigError

    try:
        found = list(read_endpoints(file, store, settings.model_servers if settings else {}))
    except ConfigError as error:
        print(printable(str(error)))
        return 1
    print(f"{file}: ok ({', '.join(endpoint.name for endpoint in found) or 'no endpoint'})")
    return sum(_check_secrets(endpoint, settings) for endpoint in found)


def _check_secrets(endpoint: Endpoint, settings: SettingsFile | None) -> int:
    """Warns of secrets that are missing or go to an unexpected host; returns how many must not go where they would."""
    from aiq.config.cloud import missing_extra, missing_file
    from aiq.config.endpoint import Settings
    from aiq.config.secret_hosts import check_hosts, secrets_of, warnings_of
    from aiq.errors import SecretError
    from aiq.providers import adapter_for

    errors = 0
    for entity in endpoint.entities:
        for missing in filter(None, (missing_extra(entity.config), missing_file(entity.config))):
            print(printable(f"warning: served entity '{entity.name}' {missing}"))
        address = adapter_for(entity).address
        try:
            check_hosts(entity, address, settings.settings if settings else Settings())
            for warning in warnings_of(entity, address):
                print(printable(f"warning: {warning}"))
        except SecretError as error:
            print(printable(str(error)))
            errors += 1
    for secret in {s.source: s for entity in endpoint.entities for s in secrets_of(entity)}.values():
        try:
            secret.reveal()
        except SecretError as error:
            print(printable(f"warning: {error}"))
    return errors
