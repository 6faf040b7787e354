"""Whether everything a statement needs is in place: packages, configuration, home folder, secrets, providers.

Connects to the providers' ports and sends nothing, so that no model is called and nothing is paid. Never shows a
secret.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from aiq.config.cloud import missing_extra, missing_file
from aiq.config.endpoint import Config, Endpoint, ServedEntity, Settings
from aiq.config.load import load_config
from aiq.config.local import starting_command
from aiq.config.secret_hosts import check_hosts, secrets_of, warnings_of
from aiq.errors import AiqError, ConfigError, SecretError
from aiq.ledger.prices import price_of
from aiq.ledger.private import is_wide
from aiq.ledger.tables import Tables
from aiq.providers import adapter_for

_PACKAGES = ("duckdb", "pyarrow", "deltalake", "sqlglot", "pyreqwest")
_PYTHON = (3, 11)
_CONNECT_TIMEOUT_S = 3.0
_LOW_DISK_BYTES = 256 * 1024 * 1024


class Check(NamedTuple):
    """One thing that was looked at. `advice` says what to do, "" where nothing is to be done."""

    subject: str
    result: Literal["ok", "warn", "fail"]
    detail: str
    advice: str = ""


def examine(conf: str | os.PathLike[str] | None, home: Path) -> list[Check]:
    """All checks, in the order a person would repair things."""
    checks = [_python(), *map(_package, _PACKAGES), *_home(home)]
    try:
        config = load_config(conf, home)
    except ConfigError as error:
        return [*checks, Check("configuration", "fail", str(error), "`aiq endpoints validate` shows every file")]
    checks.append(_configuration(config))
    addresses = {
        address for e in config.endpoints.values() for s in e.entities if (address := _address(s, config.settings))
    }
    with ThreadPoolExecutor(max_workers=16) as pool:
        reached = dict(zip(addresses, pool.map(_reach, addresses), strict=True))
    for endpoint in config.endpoints.values():
        checks += _endpoint(endpoint, config.settings, reached)
    return checks


class _Address(NamedTuple):
    host: str
    port: int
    proxy: bool


def _python() -> Check:
    own = sys.version_info
    text = ".".join(map(str, own[:3]))
    if tuple(own) < _PYTHON:
        return Check("python", "fail", text, "aiq needs Python 3.11 or newer")
    return Check("python", "ok", text)


def _package(name: str) -> Check:
    try:
        import_module(name)
        return Check(name, "ok", version(name))
    except (ImportError, PackageNotFoundError) as error:
        return Check(name, "fail", f"cannot be imported: {error}", f"pip install --force-reinstall {name}")


def _home(home: Path) -> Iterator[Check]:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        advice = "set AIQ_HOME or --home to a folder that can be written"
        yield Check("home folder", "fail", f"{home} cannot be written: {error.strerror}", advice)
        return
    if existing == home and is_wide(home.stat()):
        advice = f"chmod 700 {home}; the next statement does that, too, where the folder is yours"
        yield Check("home folder", "warn", f"{home} can be opened by others, and prompts are in it", advice)
    free = shutil.disk_usage(existing).free
    new = "" if existing == home else ", made at the first use"
    if free < _LOW_DISK_BYTES:
        advice = "without room for the ledger no call is made: free some, or move the home folder"
        yield Check("home folder", "warn", f"{home} has only {free / 1e6:,.0f} MB left", advice)
    else:
        yield Check("home folder", "ok", f"{home}{new}, {free / 1e9:,.0f} GB free")
    try:
        tables = Tables(home).info()
    except AiqError as error:
        yield Check("tables", "fail", str(error))
    else:
        if tables:
            yield Check("tables", "ok", f"{len(tables)} Delta tables, {sum(t.rows for t in tables):,} rows")


def _configuration(config: Config) -> Check:
    count = len(config.endpoints)
    where = os.path.abspath(config.folder)
    if not count:
        advice = "`aiq simulate` shows an endpoint file to start with; it goes into conf/endpoints/"
        return Check("configuration", "warn", f"{where} has no endpoint", advice)
    return Check("configuration", "ok", f"{where}, {count} endpoint{'s' if count > 1 else ''}")


def _endpoint(endpoint: Endpoint, settings: Settings, reached: dict[_Address, str]) -> Iterator[Check]:
    for entity in endpoint.entities:
        subject = f"endpoint {endpoint.name}, {entity.name}"
        if price_of(entity, settings.prices) is None and entity.provider != "model-server":
            advice = "set it under prices in conf/aiq.yml; until then cost_usd of its calls is NULL"
            yield Check(subject, "warn", f"no price is known for model {entity.model}", advice)
        missing = False
        for secret in secrets_of(entity):
            try:
                secret.reveal()
            except SecretError as error:
                missing = True
                yield Check(subject, "fail", str(error))
        for lacking in filter(None, (missing_extra(entity.config), missing_file(entity.config))):
            missing = True
            yield Check(subject, "fail", lacking)
        try:
            asked = adapter_for(entity).address
            check_hosts(entity, asked, settings)
            for warning in warnings_of(entity, asked):
                yield Check(subject, "warn", warning)
        except SecretError as error:
            missing = True
            yield Check(subject, "fail", str(error))
        address = _address(entity, settings)
        if address is None:
            yield Check(subject, "fail", "its URL has no host", f"correct it in {endpoint.file}")
            continue
        place = f"{address.host}:{address.port}"
        if failure := reached[address]:
            if address.proxy:
                advice = "check that the proxy is up, the URL in the settings, the network"
            elif command := starting_command(address.host, address.port):
                advice = f"`{command}` starts it"
            else:
                advice = f"check that the provider is up, the URL in {endpoint.file}, the network"
            yield Check(subject, "fail", f"{place} cannot be reached: {failure}", advice)
        elif not missing:
            secret_found = "its secret is there, " if any(secrets_of(entity)) else ""
            yield Check(subject, "ok", f"{secret_found}{place} answers{' (the proxy)' if address.proxy else ''}")


def _address(entity: ServedEntity, settings: Settings) -> _Address | None:
    """Where a call of the entity connects to: the provider, or the proxy before it."""
    parts = urlsplit(adapter_for(entity).address)
    proxy = settings.proxy
    if proxy is None and parts.hostname and not proxy_bypass(parts.hostname):
        proxy = getproxies().get(parts.scheme)
    aim = urlsplit(proxy) if proxy else parts
    if not aim.hostname:
        return None
    return _Address(aim.hostname, aim.port or (443 if aim.scheme == "https" else 80), bool(proxy))


def _reach(address: _Address) -> str:
    """Why the address cannot be connected to, or ""."""
    try:
        socket.create_connection((address.host, address.port), timeout=_CONNECT_TIMEOUT_S).close()
    except TimeoutError:
        return f"no answer within {_CONNECT_TIMEOUT_S:g} s"
    except OSError as error:
        return error.strerror or str(error)
    return ""
