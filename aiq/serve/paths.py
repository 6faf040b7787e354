"""Which path asks what: the shape its body has, the task it is for, and the endpoint where the path names it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from aiq.config.local import CHAT, EMBEDDINGS
from aiq.request import Task
from aiq.serve.anthropic import ANTHROPIC
from aiq.serve.gemini import GEMINI
from aiq.serve.responses import RESPONSES
from aiq.serve.shapes import OPENAI, Shape


class PathTarget(NamedTuple):
    """What a path is for. `name` is the endpoint that it names, None where the body's `model` does.

    `entity` is the served model that it names; `stream` says whether the path itself asks for a stream.
    """

    verb: Literal["ask", "count", "models"]
    shape: Shape = OPENAI
    task: Task | None = None
    name: str | None = None
    entity: str | None = None
    stream: bool | None = None


_OPENAI_BASES = (
    "/serving-endpoints", "/serving-endpoints/v1", "/v1", "/ai-gateway/mlflow/v1", "/ai-gateway/openai/v1",
    "/ai-gateway/codex/v1", "/cursor/v1", "",
)  # fmt: skip
_OPENAI_PATHS: dict[str, PathTarget] = {
    "/chat/completions": PathTarget("ask", OPENAI, "llm/v1/chat"),
    "/completions": PathTarget("ask", OPENAI, "llm/v1/completions"),
    "/embeddings": PathTarget("ask", OPENAI, "llm/v1/embeddings"),
    "/responses": PathTarget("ask", RESPONSES, "llm/v1/chat"),
    "/models": PathTarget("models"),
}
_ANTHROPIC_BASES = ("/serving-endpoints/anthropic/v1", "/ai-gateway/anthropic/v1")
_ANTHROPIC_PATHS: dict[str, PathTarget] = {
    "/messages": PathTarget("ask", ANTHROPIC, "llm/v1/chat"),
    "/messages/count_tokens": PathTarget("count", ANTHROPIC, "llm/v1/chat"),
    "/models": PathTarget("models", ANTHROPIC),
}
_GEMINI_BASES = tuple(
    f"{base}/{version}"
    for base in ("/serving-endpoints/gemini", "/ai-gateway/gemini")
    for version in ("v1beta", "v1", "v1alpha")
)
_GEMINI_VERBS: dict[str, PathTarget] = {
    "generateContent": PathTarget("ask", GEMINI, "llm/v1/chat", stream=False),
    "streamGenerateContent": PathTarget("ask", GEMINI, "llm/v1/chat", stream=True),
    "countTokens": PathTarget("count", GEMINI, "llm/v1/chat"),
}
_PLAIN = {base + path: target for base in _OPENAI_BASES for path, target in _OPENAI_PATHS.items()} | {
    base + path: target for base in _ANTHROPIC_BASES for path, target in _ANTHROPIC_PATHS.items()
}
_MODELS = {path: target for path, target in _PLAIN.items() if target.verb == "models"} | {
    f"{base}/models": PathTarget("models", GEMINI) for base in _GEMINI_BASES
}


def target_of(path: str) -> PathTarget | None:
    """What a path is for, None where it asks no endpoint and lists none."""
    if (found := _PLAIN.get(path) or _MODELS.get(path)) is not None:
        return found
    folder, _, last = path.rpartition("/")
    if (found := _MODELS.get(folder)) is not None:
        name, colon, verb = last.rpartition(":")
        if found.shape is GEMINI and colon:
            asked = _GEMINI_VERBS.get(verb)
            return asked and asked._replace(name=name)
        return found._replace(name=last)
    return _invoked(path)


def shape_of(path: str) -> Shape:
    """The shape in which a client of this path reads errors."""
    for shape, bases in ((ANTHROPIC, _ANTHROPIC_BASES), (GEMINI, _GEMINI_BASES)):
        if path.startswith(bases):
            return shape
    return OPENAI


def _invoked(path: str) -> PathTarget | None:
    parts = path.strip("/").split("/")
    if parts[0] not in ("serving-endpoints", "endpoints") or parts[-1] != "invocations":
        return None
    if len(parts) == 3:
        return PathTarget("ask", name=parts[1])
    if len(parts) == 4 and (name := f"{parts[1]}/{parts[2]}") in (CHAT, EMBEDDINGS):
        return PathTarget("ask", name=name)
    if len(parts) == 5 and parts[2] == "served-models":
        return PathTarget("ask", name=parts[1], entity=parts[3])
    return None
