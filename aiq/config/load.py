"""Reads a `conf` folder into one `Config`. Knows no engine and no provider.

The only way in: code that needs an endpoint or a setting starts here.
"""

from __future__ import annotations

import os

from aiq.config.endpoint import Config, Endpoint
from aiq.config.endpoints import read_endpoints
from aiq.config.guardrails import check_guard_endpoints
from aiq.config.local import with_local
from aiq.config.secrets import SecretStore
from aiq.config.settings import read_settings
from aiq.errors import ConfigError

_SUFFIXES = (".yml", ".yaml", ".json")


def load_config(folder: str | os.PathLike[str] | None, home: str | os.PathLike[str]) -> Config:
    """All settings and endpoints of `folder`.

    `folder` None means `$AIQ_CONF`, then `./conf`; only that last one may be absent, which gives the defaults
    and no endpoints of files. `home` is aiq's home folder, where secrets are kept, and where a local server says that
    it runs. Secrets are looked up when they are
    first used, so a file with a missing one loads.

    Raises ConfigError, with file, line and field, on the first thing that is wrong.
    """
    given = os.fspath(folder) if folder is not None else os.environ.get("AIQ_CONF") or None
    path = given or "conf"
    if not os.path.isdir(path):
        if given is None and not os.path.lexists(path):
            return with_local(read_folder(path, SecretStore(home)), home)
        origin = "" if folder is not None or given is None else " ($AIQ_CONF)"
        what = "is not a folder" if os.path.lexists(path) else "does not exist"
        raise ConfigError(
            f"the configuration folder{origin} {what}. `aiq init` makes a folder conf with endpoints to start with; or "
            f"mkdir -p {os.path.join(path, 'endpoints')} and put a file for each endpoint into it, such as chat.yml",
            file=path,
        )
    return with_local(read_folder(path, SecretStore(home)), home)


def read_folder(path: str, store: SecretStore) -> Config:
    """`<path>/aiq.yml` and `<path>/endpoints/*`, with the secrets of `store`."""
    settings_path = os.path.join(path, "aiq.yml")
    for other in ("aiq.yaml", "aiq.json"):
        if os.path.lexists(os.path.join(path, other)):
            raise ConfigError("is not read; the settings' file is called aiq.yml", file=os.path.join(path, other))
    file = read_settings(settings_path, store)
    endpoints: dict[str, Endpoint] = {}
    for endpoint_path in endpoint_files(os.path.join(path, "endpoints")):
        for endpoint in read_endpoints(endpoint_path, store, file.model_servers):
            first = endpoints.setdefault(endpoint.name, endpoint)
            if first is not endpoint:
                raise ConfigError(
                    f"the endpoint {endpoint.name!r} is defined twice, first in {first.file}:{first.line}",
                    file=endpoint.file,
                    line=endpoint.line,
                )
    file.check_endpoints(endpoints)
    check_guard_endpoints(endpoints)
    return Config(folder=path, settings=file.settings, endpoints=endpoints)


def endpoint_files(folder: str) -> list[str]:
    """The endpoint files of a folder, sorted; those that editors leave behind are none."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=folder) from None
    # Editors leave hidden files behind while a file is open.
    paths = [os.path.join(folder, n) for n in names if n.endswith(_SUFFIXES) and not n.startswith(".")]
    return [path for path in paths if not os.path.isdir(path)]
