"""Embeddings of the models on Bedrock, each vendor's in its own form, by InvokeModel. Must never know who sends them.

Source: the Amazon Bedrock user guide, "Amazon Titan Text Embeddings", "Cohere Embed v3" and "Cohere Embed v4".
"""

from __future__ import annotations

from typing import Any

from aiq.providers.base import HttpResponse
from aiq.providers.bedrock.request import Refuse
from aiq.providers.wire.openai_form import count

OWN = frozenset({"input_type", "normalize", "truncate"})
"""Parameters of embeddings that OpenAI does not have."""
COHERE_INPUTS = 96
"""Texts that one call of Cohere's models takes."""
DEFAULT_INPUT_TYPE = "search_document"
"""Cohere's models require it; texts of a table are what is searched."""

_NUMBERS = frozenset({int, float})


def most_inputs(model: str) -> int:
    """How many texts a call of a model takes. Titan takes one, and so may a model behind an ARN."""
    return COHERE_INPUTS if "cohere." in model else 1


def embeddings_body(body: dict[str, Any], model: str, vendor: str, refuse: Refuse) -> dict[str, Any]:
    """The body of InvokeModel. What is not translated goes to the model as it is."""
    more = {name: value for name, value in body.items() if name not in ("input", "dimensions", "encoding_format")}
    texts, dimensions = body["input"], body.get("dimensions")
    if vendor == "cohere":
        if len(texts) > COHERE_INPUTS:
            refuse(
                f"takes {COHERE_INPUTS} texts a call from Cohere's models, not {len(texts)}: lower embedding_batch_rows"
            )
        made: dict[str, Any] = {"texts": texts, "input_type": DEFAULT_INPUT_TYPE, **more}
        if dimensions is not None:
            if "embed-v4" not in model:
                refuse(f"cannot choose the dimensions of {model}: leave them out")
            made["output_dimension"] = dimensions
        return made
    if vendor != "amazon":
        refuse(f"has embeddings of bedrock_provider amazon and cohere, not of {vendor}")
    if len(texts) != 1:
        refuse(f"takes one text a call from Titan's models, not {len(texts)}: set embedding_batch_rows to 1")
    made = {"inputText": texts[0], **more}
    if dimensions is not None:
        if "embed-text-v1" in model or "embed-g1-text" in model:
            refuse(f"cannot choose the dimensions of {model}: leave them out")
        if "embed-image" in model:
            made["embeddingConfig"] = {"outputEmbeddingLength": dimensions}
        else:
            made["dimensions"] = dimensions
    return made


def read_embeddings(data: Any, expected: int, response: HttpResponse) -> tuple[list[list[float]], int | None]:
    """One vector a text, and the tokens in, None where they are not stated. Raises for every other form."""
    if "embeddings" in data:
        found = data["embeddings"]
        vectors = found["float"] if isinstance(found, dict) else found
        tokens = None
    else:
        vectors, tokens = [data["embedding"]], count(data.get("inputTextTokenCount"))
    if type(vectors) is not list or len(vectors) != expected:
        raise ValueError("not one vector a text")
    for vector in vectors:
        if type(vector) is not list or not vector or not set(map(type, vector)) <= _NUMBERS:
            raise TypeError("an embedding is a list of numbers")
    if tokens is None:
        stated = response.header("x-amzn-bedrock-input-token-count") or ""
        tokens = count(int(stated)) if stated.isascii() and stated.isdigit() and len(stated) < 12 else None
    return vectors, tokens
