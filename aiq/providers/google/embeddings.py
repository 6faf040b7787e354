"""Google's embeddings: many texts in a batch, many instances of a prediction, or one text alone. Must never know an
address or an error's body.

Source: the Gemini API reference, `models.batchEmbedContents`; Vertex AI's text embeddings API (`predict`), and
`embedContent`, which Gemini's later embedding models are served by alone.
"""

from __future__ import annotations

from typing import Any

from aiq.providers.google.request import Refuse
from aiq.providers.wire.openai_form import count

MAX_BATCH = 100
"""Texts in one batch of the Gemini API."""
MAX_INSTANCES = 250
"""Texts in one prediction of Vertex AI."""
MAX_CHARACTERS = 60_000
"""Characters in one prediction, which takes 20,000 tokens."""
_OWN = {
    "task_type": "taskType",
    "taskType": "taskType",
    "title": "title",
    "auto_truncate": "autoTruncate",
    "autoTruncate": "autoTruncate",
}
OWN = frozenset(_OWN)
"""Parameters of embeddings that OpenAI does not have."""
_PARAMETERS = {"taskType": "task_type", "title": "title"}
"""What a prediction takes next to each text, and how it spells it there."""
_IGNORED = frozenset({"input", "model", "dimensions", "encoding_format"})
_NUMBERS = frozenset({int, float})


def batch(body: dict[str, Any], model: str, refuse: Refuse) -> dict[str, Any]:
    """`batchEmbedContents`: each text as a request of its own. `model` is the resource's name."""
    each = _settings(body, refuse)
    return {"requests": [{"model": model, "content": _content(text), **each} for text in _texts(body, refuse)]}


def instances(body: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    """`predict`: what is asked of each text stands next to it, and the rest in `parameters`."""
    settings = _settings(body, refuse)
    outside = {_PARAMETERS[name]: value for name, value in settings.items() if name in _PARAMETERS}
    wire: dict[str, Any] = {"instances": [{"content": text, **outside} for text in _texts(body, refuse)]}
    parameters = {name: value for name, value in settings.items() if name not in _PARAMETERS}
    if parameters:
        wire["parameters"] = parameters
    return wire


def single(body: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    """`embedContent`: the one text."""
    texts = _texts(body, refuse)
    if len(texts) != 1:
        refuse("takes one text a call to this model, and several were sent; set embedding_batch_rows to 1")
    return {"content": _content(texts[0]), **_settings(body, refuse)}


def vectors_of(data: dict[str, Any], expected: int) -> tuple[list[list[float]], int | None]:
    """The vectors of an answer in any of the three forms, and the tokens it counts. Raises what Python does if none."""
    if "predictions" in data:
        found = [prediction["embeddings"] for prediction in data["predictions"]]
        counts = [count(one["statistics"].get("token_count")) for one in found if one.get("statistics")]
        known = [number for number in counts if number is not None]
        tokens = sum(known) if len(known) == expected else None
    else:
        found = data["embeddings"] if "embeddings" in data else [data["embedding"]]
        usage = data.get("usageMetadata")
        tokens = count(usage.get("promptTokenCount")) if isinstance(usage, dict) else None
    vectors = [_vector(one["values"]) for one in found]
    if len(vectors) != expected:
        raise ValueError("not one vector per input")
    return vectors, tokens


def _settings(body: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, value in body.items():
        if name == "dimensions":
            settings["outputDimensionality"] = value
        elif name in _OWN:
            settings[_OWN[name]] = value
        elif name == "user":
            refuse("cannot honour user; leave it out")
        elif name not in _IGNORED:
            settings[name] = value
    return settings


def _texts(body: dict[str, Any], refuse: Refuse) -> list[str]:
    texts = body["input"]
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        refuse("embeds texts, and the input holds something else")
    return texts


def _content(text: str) -> dict[str, Any]:
    return {"parts": [{"text": text}]}


def _vector(values: Any) -> list[float]:
    if not isinstance(values, list) or not values or not set(map(type, values)) <= _NUMBERS:
        raise TypeError("an embedding is a list of numbers")
    return values
