"""Changes endpoint files for the control plane: one endpoint at a time, atomically, with everything else left as it is.

What is written has been read by the reader that reads all files, as the whole folder will be. Comments stay.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import fcntl
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from aiq.config.endpoint import Endpoint
from aiq.config.endpoints import name_fault
from aiq.config.load import endpoint_files, read_folder
from aiq.config.secrets import SecretStore, keep_secret
from aiq.errors import AiqError, ConfigError

SCOPE = "serving-endpoints"
"""Of the secrets that came in as plain text."""
_PLAINTEXT = "_plaintext"

Change = Callable[[dict[str, Any]], None]
"""Changes an endpoint's own mapping, as its file has it."""


class Busy(AiqError):
    """Somebody else is changing the same endpoint, or has just done so."""


def create(folder: str, home: str | os.PathLike[str], name: str, body: dict[str, Any]) -> None:
    """Writes a new endpoint into a file of its own. Raises ConfigError, Busy."""
    if fault := name_fault(name):  # before it is a part of a path
        raise ConfigError(fault, field="name")
    path = Path(folder) / "endpoints" / f"{name}.yml"
    with _alone(folder, name):
        if os.path.lexists(path):
            raise ConfigError(f"{path.name} is there already, and holds other endpoints; choose another name")
        made = copy.deepcopy(body)
        kept = _keep_secrets(made, home, name)
        _put(folder, home, path, _yaml_text(made), None, kept)


def change(folder: str, home: str | os.PathLike[str], endpoint: Endpoint, changed: Change | None) -> None:
    """Changes an endpoint in its file, or takes it out of it (None). Raises ConfigError, Busy."""
    path = Path(endpoint.file)
    with _alone(folder, endpoint.name):
        before = path.read_bytes()
        document = _Document(path, before)
        holder, key = document.find(endpoint.name)
        kept: list[str] = []
        old = _references(holder[key], home)
        if changed is None:
            del holder[key]
            text = document.text() if document.has_endpoints() else None
        else:
            changed(holder[key])
            kept = _keep_secrets(holder[key], home, endpoint.name)
            text = document.text()
        _put(folder, home, path, text, before, kept)
        if changed is None or kept:
            new = set() if changed is None else _references(holder[key], home)
            for unused in old - new:
                _remove(unused)


class _Document:
    """The parsed text of an endpoint file, which keeps its comments when it is written again."""

    def __init__(self, path: Path, data: bytes) -> None:
        self._json = path.suffix == ".json"
        self._yaml = _yaml()
        text = data.decode("utf-8-sig")
        try:
            self._roots = [json.loads(text)] if self._json else list(self._yaml.load_all(text))
        except (YAMLError, ValueError):
            raise ConfigError("cannot be changed here: it is not plain YAML or JSON", file=str(path)) from None

    def find(self, name: str) -> tuple[Any, Any]:
        """The container of an endpoint, and its key there. Raises ConfigError where it is spelled with variables."""
        for holder, key in self._places():
            if isinstance(holder[key], dict) and holder[key].get("name") == name:
                return holder, key
        raise ConfigError(f"the endpoint {name!r} cannot be changed here: its name comes from a variable of its file")

    def has_endpoints(self) -> bool:
        return any(isinstance(holder[key], dict) for holder, key in self._places())

    def _places(self) -> Iterator[tuple[Any, Any]]:
        for at, root in enumerate(self._roots):
            for holder, key in [(root, i) for i in range(len(root))] if isinstance(root, list) else [(self._roots, at)]:
                node = holder[key]
                if isinstance(node, dict) and "name" not in node and "config" not in node:
                    bundled = (node.get("resources") or {}).get("model_serving_endpoints") or {}
                    yield from ((bundled, inner) for inner in list(bundled))
                elif node is not None:
                    yield holder, key

    def text(self) -> str:
        if self._json:
            return json.dumps(self._roots[0], indent=2, ensure_ascii=False) + "\n"
        out = io.StringIO()
        self._yaml.dump_all(self._roots, out)
        return out.getvalue()


def _yaml() -> Any:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    return yaml


def _yaml_text(value: Any) -> str:
    out = io.StringIO()
    _yaml().dump(value, out)
    return out.getvalue()


@contextlib.contextmanager
def _alone(folder: str, name: str) -> Iterator[None]:
    """One change of an endpoint at a time, by whichever process. Raises Busy instead of waiting."""
    endpoints = Path(folder) / "endpoints"
    try:
        endpoints.mkdir(parents=True, exist_ok=True)
        lock = os.open(endpoints / f".{name}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", file=str(endpoints)) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Busy(f"endpoint '{name}' is being changed by another request; ask again") from None
    finally:
        os.close(lock)


def _put(
    folder: str, home: str | os.PathLike[str], path: Path, text: str | None, before: bytes | None, kept: list[str]
) -> None:
    """Puts a file into its place, or takes it away (None), if the whole folder can be read so. Else forgets `kept`."""
    try:
        _check(folder, home, path, text)
        now = path.read_bytes() if path.exists() else None
        if now != before:
            raise Busy(f"{path.name} was changed by somebody else in between; ask again")
        if text is None:
            path.unlink()
            return
        handle, name = tempfile.mkstemp(prefix=".", dir=path.parent)
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644 if before is None else path.stat().st_mode & 0o777)
            os.replace(name, path)
        except BaseException:
            _remove(name)
            raise
    except OSError as error:
        for secret in kept:
            _remove(secret)
        full = " (no space left)" if error.errno == errno.ENOSPC else ""
        raise ConfigError(f"cannot be written: {error.strerror}{full}", file=str(path)) from None
    except BaseException:
        for secret in kept:
            _remove(secret)
        raise


def _check(folder: str, home: str | os.PathLike[str], path: Path, text: str | None) -> None:
    """Reads the folder as it would be with this file. Raises ConfigError, without the name of the file."""
    with tempfile.TemporaryDirectory() as copied:
        os.mkdir(os.path.join(copied, "endpoints"))
        for each in (os.path.join(folder, "aiq.yml"), *endpoint_files(os.path.join(folder, "endpoints"))):
            if os.path.exists(each) and Path(each) != path:
                shutil.copy(each, os.path.join(copied, os.path.relpath(each, folder)))
        if text is not None:
            (Path(copied) / "endpoints" / path.name).write_text(text, encoding="utf-8")
        try:
            read_folder(copied, SecretStore(home))
        except ConfigError as error:
            raise type(error)(re.sub(r"[^\s]*aiq\.yml: ", "", error.reason), field=error.field) from None


def _keep_secrets(node: Any, home: str | os.PathLike[str], name: str) -> list[str]:
    """Moves every `<field>_plaintext` of an endpoint into the home's secrets; the field then refers to it.

    Returns the files that were written.
    """
    kept: list[str] = []
    for holder, field in list(_plaintexts(node)):
        value = holder[field]
        if not isinstance(value, str):
            raise ConfigError("expected text", field=field)
        plain = field.removesuffix(_PLAINTEXT)
        if plain in holder:
            raise ConfigError(f"give exactly one of {plain} and {field}", field=field)
        key, path = keep_secret(home, SCOPE, f"{name}-{plain}", value)
        kept.append(path)
        del holder[field]
        holder[plain] = f"{{{{secrets/{SCOPE}/{key}}}}}"
    return kept


def _plaintexts(node: Any) -> Iterator[tuple[Any, str]]:
    if isinstance(node, dict):
        for name, value in node.items():
            if isinstance(name, str) and name.endswith(_PLAINTEXT) and value is not None:
                yield node, name
            else:
                yield from _plaintexts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _plaintexts(value)


def _references(node: Any, home: str | os.PathLike[str]) -> set[str]:
    """The files of the kept secrets that an endpoint refers to."""
    found = re.findall(r"\{\{secrets/" + SCOPE + r"/([^}\s/]+)\}\}", json.dumps(node, default=str))
    return {os.path.join(home, "secrets", SCOPE, key) for key in found}


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
