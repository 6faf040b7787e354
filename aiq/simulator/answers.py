"""What the simulated model says: texts, JSON and predictions, from prompt, parameters and seed alone.

Knows no HTTP. Everything is extractive, so that a demo reads sensibly and nobody takes it for a model's work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from aiq.simulator.faults import MARKER_TEXT
from aiq.simulator.refusal import Refusal
from aiq.simulator.schema import conforming
from aiq.simulator.tokens import cut_to_tokens, text_tokens

LABEL = "[simulated] "
_CHOICE = re.compile(r"^.*\banswer with exactly one of:[ \t]*(.+)$", re.IGNORECASE | re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_OPENINGS = ("", "In short: ", "Briefly: ", "The gist: ")
_MAX_WORDS = 32


class Choice(NamedTuple):
    """One answer: its text, `stop` or `length`, and its tokens."""

    text: str
    finish_reason: str
    tokens: int


class Prompt(NamedTuple):
    """What was asked: all texts, the last user text, and (media type, bytes) of each image."""

    texts: list[str]
    last: str
    images: list[tuple[str, int]]


def read_messages(messages: list[dict[str, Any]]) -> Prompt:
    """Collect texts and images of validated chat messages."""
    texts: list[str] = []
    images: list[tuple[str, int]] = []
    last = ""
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            text = "\n".join(part["text"] for part in content if part["type"] == "text")
            images += [_image(part["image_url"]["url"]) for part in content if part["type"] == "image_url"]
        else:
            text = content or ""
        texts.append(text)
        if message["role"] == "user":
            last = text
    return Prompt(texts, last or texts[-1], images)


def _image(url: str) -> tuple[str, int]:
    head, separator, data = url.partition(";base64,")
    if not separator:
        return "linked", 0
    return head.removeprefix("data:"), len(data) * 3 // 4 - data.count("=", -2)


def draw(*parts: object) -> int:
    """A 64-bit number from any values: the simulator's only source of variety."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def choices(prompt: Prompt, model: str, body: Mapping[str, Any], seed: int, label: bool) -> list[Choice]:
    """The `n` answers to a validated chat or completion body."""
    parameters = [body.get(name) for name in ("seed", "temperature", "top_p")]
    base = draw(seed, model, *parameters, *prompt.texts)
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    stops = body.get("stop") or ()
    answers = []
    for index in range(body.get("n") or 1):
        text = _say(prompt, body.get("response_format"), base + index, label)
        for stop in [stops] if isinstance(stops, str) else stops:
            text = text.partition(stop)[0] if stop else text
        tokens, reason = text_tokens(text), "stop"
        if limit is not None and tokens > limit:
            text, reason = cut_to_tokens(text, limit), "length"
            tokens = text_tokens(text)
        answers.append(Choice(text, reason, tokens))
    return answers


def _say(prompt: Prompt, response_format: Mapping[str, Any] | None, number: int, label: bool) -> str:
    kind = "text" if response_format is None else response_format["type"]
    if response_format is not None and kind == "json_schema":
        return orjson.dumps(conforming(response_format["json_schema"]["schema"], number)).decode()
    if kind == "json_object":
        return orjson.dumps({"simulated": True, "answer": gist(prompt.last)}).decode()
    for text in reversed(prompt.texts):
        if match := _CHOICE.search(text):
            return _choose(match[1], text[: match.start()] + text[match.end() :] + prompt.last, number)
    seen = ""
    if prompt.images:
        kinds = ", ".join(f"{kind}, {size} bytes" if size else f"{kind} image" for kind, size in prompt.images)
        seen = f"Given {len(prompt.images)} image(s) ({kinds}). "
    opening = _OPENINGS[number % len(_OPENINGS)]
    return f"{LABEL if label else ''}{seen}{opening}{gist(prompt.last)}"


def _choose(options: str, text: str, number: int) -> str:
    """The option the text itself names, or one by hash."""
    names = [name.strip().strip("'\"`.") for name in options.split(",")]
    names = [name for name in names if name] or [options.strip()]
    words = set(re.findall(r"\w+", _CHOICE.sub("", text).lower()))
    named = [name for name in names if name.lower() in words]
    return named[0] if named else names[number % len(names)]


def gist(text: str) -> str:
    """A short extract: the last paragraph without its instruction, its first and its longest sentence."""
    text = MARKER_TEXT.sub("", text)
    paragraphs = [" ".join(p.split()) for p in text.split("\n\n") if p.strip()]
    if not paragraphs:
        return "(empty prompt)"
    body = paragraphs[-1]
    head, colon, rest = body.partition(": ")
    if colon and len(head) <= 80 and len(rest) >= 12:
        body = rest
    sentences = _SENTENCE.split(body)
    if len(sentences) > 2:
        body = f"{sentences[0]} {max(sentences[1:], key=len)}"
    words = body.split(" ")
    return body if len(words) <= _MAX_WORDS else " ".join(words[:_MAX_WORDS]) + " ..."


def predictions(body: Mapping[str, Any]) -> list[Any]:
    """The predictions of an MLflow scoring body: each record itself, or its `__return` where it has one.

    Raises Refusal (400) unless the body has exactly one of the four known shapes.
    """
    shapes = ("dataframe_records", "dataframe_split", "inputs", "instances")
    given = [shape for shape in shapes if shape in body]
    for name in body:
        if name not in shapes and name not in ("params", "client_request_id", "usage_context"):
            raise Refusal(400, f"Unknown field {name!r} in the scoring request.", param=name)
    if len(given) != 1:
        raise Refusal(400, f"The input must have exactly one of the fields {', '.join(shapes)}.")
    shape, value = given[0], body[given[0]]
    if shape == "dataframe_split":
        records = _split_records(value)
    elif isinstance(value, dict) and shape == "inputs":
        records = _column_records(value)
    elif isinstance(value, list):
        records = value
    else:
        raise Refusal(400, f"Field '{shape}' must be a list.", param=shape)
    if shape == "dataframe_records" and not all(isinstance(record, dict) for record in records):
        raise Refusal(400, "Field 'dataframe_records' must be a list of objects.", param=shape)
    return [r["__return"] if isinstance(r, dict) and "__return" in r else r for r in records]


def _split_records(value: Any) -> list[Any]:
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise Refusal(
            400,
            "Field 'dataframe_split' must be an object with 'columns' and 'data'.",
            param="dataframe_split",
        )
    rows, columns = value["data"], value.get("columns")
    if columns is None:
        return list(rows)
    if any(not isinstance(row, list) or len(row) != len(columns) for row in rows):
        raise Refusal(400, f"Each row of 'data' must have {len(columns)} values.", param="dataframe_split")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _column_records(value: dict[str, Any]) -> list[Any]:
    lengths = {len(column) for column in value.values() if isinstance(column, list)}
    if not lengths:
        return [value]
    if len(lengths) > 1 or not all(isinstance(column, list) for column in value.values()):
        raise Refusal(400, "Every column of 'inputs' must be a list of the same length.", param="inputs")
    return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
