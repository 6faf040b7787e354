"""The vendors that the simulated provider speaks like, all on one port: the path decides.

A new vendor is a file with a class (see `base.Vendor`) and a line here.
"""

from __future__ import annotations

from functools import lru_cache

from aiq.simulator.exchange import VendorRoute
from aiq.simulator.refusal import VendorError
from aiq.simulator.vendors.agents import Agents
from aiq.simulator.vendors.ai21 import AI21
from aiq.simulator.vendors.anthropic import Anthropic
from aiq.simulator.vendors.azure import Azure
from aiq.simulator.vendors.base import Vendor
from aiq.simulator.vendors.bedrock import Bedrock
from aiq.simulator.vendors.cohere import Cohere
from aiq.simulator.vendors.databricks import Databricks
from aiq.simulator.vendors.gemini import Gemini
from aiq.simulator.vendors.mlflow import MLflow
from aiq.simulator.vendors.openai import OpenAI
from aiq.simulator.vendors.vertex import Vertex
from aiq.simulator.vendors.vertex_partners import VertexClaude, VertexMistral, VertexOpenAI

OPENAI = OpenAI()
VENDORS: tuple[Vendor, ...] = (
    OPENAI,
    Azure(),
    Anthropic(),
    Bedrock(),
    Cohere(),
    Gemini(),
    Vertex(),
    VertexClaude(),
    VertexMistral(),
    VertexOpenAI(),
    AI21(),
    Databricks(),
    Agents(),
    MLflow(),
)
"""In the order in which they are asked whether a path is theirs."""


@lru_cache(maxsize=4096)
def find(method: bytes, path: bytes, query: bytes) -> tuple[Vendor, VendorRoute | VendorError]:
    """Whose path it is and where it leads, or why nobody can answer it; OpenAI refuses what is nobody's."""
    for vendor in VENDORS:
        try:
            route = vendor.route(method, path, query)
        except VendorError as refusal:
            return vendor, refusal
        if route is not None:
            return vendor, route
    return OPENAI, VendorError(404, f"Invalid URL ({method.decode('latin-1')} {path.decode('latin-1')})")


def base_urls(url: str) -> list[tuple[str, str]]:
    """For each API that is spoken at `url`: whose it is, and the base URL that its clients are given."""
    return [(whose, url + path) for vendor in VENDORS for whose, path in vendor.bases]
