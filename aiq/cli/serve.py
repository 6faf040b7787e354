"""`aiq serve`: the gateway over HTTP, until Ctrl-C."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aiq.cli.options import Conf, Home
from aiq.errors import ConfigError

if TYPE_CHECKING:
    from aiq.serve import App

_LINES = """\
aiq serves {count} endpoints on {url}. Stop it with Ctrl-C.
{token}
  curl {url}/serving-endpoints/{name}/invocations -H "Authorization: Bearer $DATABRICKS_TOKEN" \\
    -H "Content-Type: application/json" -d '{{"messages": [{{"role": "user", "content": "hello"}}]}}'

  OpenAI(base_url="{url}/v1", api_key=os.environ["DATABRICKS_TOKEN"]).chat.completions.create(model="{name}", ...)

  export DATABRICKS_HOST={url}     # the Databricks SDK and MLflow's deployments client: WorkspaceClient(),
                                                  # mlflow.deployments.get_deploy_client("databricks")
"""
_TOKEN = """
A token for {user}, shown this once; `aiq tokens create` makes more:
  export DATABRICKS_TOKEN={token}
"""


def serve(
    host: Annotated[str, typer.Option(help="Another address than this machine's own lets others in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8080,
    conf: Conf = None,
    home: Home = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM file of the certificate.", metavar="FILE")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of its key.", metavar="FILE")] = None,
    workers: Annotated[int, typer.Option(help="Processes that answer; a core each.", min=1, max=64)] = 1,
    read_only: Annotated[bool, typer.Option("--read-only", help="Endpoints change in their files only.")] = False,
) -> None:
    """Serve the endpoints over REST: Databricks' paths and OpenAI's, with the same limits, guardrails and ledger."""
    try:
        from aiq.serve import app as application
        from aiq.serve.server import listening, run
        from aiq.serve.workers import WorkerProcesses
    except ImportError:
        raise ConfigError('aiq serve needs uvicorn: pip install "aiq[serve]"') from None
    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("--tls-cert and --tls-key belong together: give both")
    served = application(conf, home, read_only=read_only)
    with listening(host, port) as bound:
        name = f"[{host}]" if ":" in host else host
        url = f"{'http' if tls_cert is None else 'https'}://{name}:{bound.getsockname()[1]}"
        if host not in ("127.0.0.1", "::1", "localhost") and tls_cert is None:
            print(f"{url} is open to other machines, and tokens travel unencrypted: use --tls-cert", file=sys.stderr)
        names = served.endpoints
        greeting = _LINES.format(
            count=len(names), url=url, token=_first_token(served), name=names[0] if names else "<endpoint>"
        )
        if workers == 1:
            run(served, bound, lambda: print(greeting, flush=True), cert=tls_cert, key=tls_key)
            return
        options = {"conf": conf, "home": home, "cert": tls_cert, "key": tls_key}
        worker_options = {name: None if value is None else str(value) for name, value in options.items()}
        WorkerProcesses(bound, workers, {**worker_options, "read_only": read_only}).run(
            lambda: print(greeting, flush=True)
        )


def _first_token(served: App) -> str:
    if served.tokens.all():
        return "Tokens are those of `aiq tokens list`.\n"
    return _TOKEN.format(user=served.user, token=served.tokens.create(served.user, comment="made by aiq serve"))
