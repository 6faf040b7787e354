"""`aiq simulate`: a provider on this machine that costs nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

_ENDPOINT = """\
# conf/endpoints/simulated.yml
name: chat
config:
  served_entities:
    - external_model:
        name: gpt-4o-mini
        provider: openai
        task: llm/v1/chat
        openai_config:
          openai_api_base: {url}/v1
          openai_api_key_plaintext: simulated
"""


def simulate(
    port: Annotated[int | None, typer.Option(help="0 takes a free one. [default: the profile's, else 9001]")] = None,
    host: Annotated[str | None, typer.Option(help="[default: the profile's, else 127.0.0.1]")] = None,
    profile: Annotated[
        Path | None,
        typer.Option(help="Latency, quotas and faults, as YAML; chaos.yml is there already.", metavar="FILE.yml"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed, other answers.", min=0)] = None,
) -> None:
    """Run a simulation of every provider until Ctrl-C. Its answers are made up, and say so."""
    from aiq.config.local import SIMULATOR_PORT
    from aiq.simulator.profile import Profile, profile_file
    from aiq.simulator.server import run
    from aiq.simulator.vendors import base_urls

    settings = Profile.load(profile_file(profile)) if profile is not None else Profile()
    if host is not None:
        settings = replace(settings, host=host)
    if seed is not None:
        settings = replace(settings, seed=seed)

    def say(listening: int) -> None:
        name = f"[{settings.host}]" if ":" in settings.host else settings.host
        url = f"http://{name}:{listening}"
        keys = "the profile's keys" if settings.keys is not None else "every key but sk-invalid"
        bases = "".join(f"  {whose:<28} {base}\n" for whose, base in base_urls(url))
        print(
            f"A SIMULATOR, not a model, listens on {url} and accepts {keys}. Stop it with Ctrl-C.\n"
            f"Its answers are made up. What it saw: {url}/__stats. What it bills: {url}/__invoice.\n\n"
            f"{bases}\nAn endpoint file to use it:\n\n{_ENDPOINT.format(url=url)}",
            flush=True,
        )

    run(settings, port if port is not None else settings.port or SIMULATOR_PORT, say)
