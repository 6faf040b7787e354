"""What the simulated model says: texts and JSON, from prompt, parameters and seed alone.

Knows no HTTP. Everything is extractive, so that a demo reads sensibly and nobody takes it for a model's work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from aiq.simulator.exchange import Choice, Prompt, VendorRequest
from aiq.simulator.faults import MARKER_TEXT
from aiq.simulator.schema import conforming, violating
from aiq.simulator.tokens import cut_to_tokens, reasoning_tokens, text_tokens
from aiq.simulator.tool_calls import draw, tool_calls

LABEL = "[simulated] "
_PIECE = re.compile(r"\s*\S{1,8}|\s+")
_CHOICE = re.compile(r"^.*\banswer with exactly one of:[ \t]*(.+)$", re.IGNORECASE | re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_OPENINGS = ("", "In short: ", "Briefly: ", "The gist: ")
_MAX_WORDS = 32


def read_messages(messages: Sequence[Mapping[str, Any]]) -> Prompt:
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


def choices(asked: VendorRequest, seed: int, label: bool, *, broken: bool = False) -> list[Choice]:
    """The answers to a chat, `n` of them, or to the prompts of a completion, `n` to each.

    `broken`: JSON that was asked to conform to a schema does not quite.
    """
    if asked.task == "completions":
        texts = [text if isinstance(text, str) else f"token ids {text}" for text in asked.inputs]
        prompts = [Prompt([text], text, []) for text in texts]
    else:
        prompts = [read_messages(asked.messages)]
    thoughts = reasoning_tokens(asked.model, asked.effort) if asked.task == "chat" else 0
    if asked.limit is not None:
        thoughts = min(thoughts, asked.limit)
    return [
        _answer(asked, prompt, draw(seed, asked.model, *asked.sampling, *prompt.texts) + index, thoughts, label, broken)
        for prompt in prompts
        for index in range(asked.n)
    ]


def _answer(asked: VendorRequest, prompt: Prompt, number: int, thoughts: int, label: bool, broken: bool) -> Choice:
    calls = tool_calls(asked, prompt, number, broken) if asked.tools else ()
    if calls:
        tokens = sum(text_tokens(call.name) + text_tokens(call.arguments) for call in calls)
        if asked.limit is not None and thoughts + tokens > asked.limit:
            return Choice("", "length", 0, (), thoughts)
        return Choice(None, "tool_calls", tokens, calls, thoughts)
    text = _say(asked, prompt, number, label, broken)
    stopped_by = None
    for stop in asked.stop:
        if stop and stop in text:
            text, stopped_by = text.partition(stop)[0], stop
    tokens = text_tokens(text)
    if asked.limit is not None and thoughts + tokens > asked.limit:
        text = cut_to_tokens(text, asked.limit - thoughts)
        return Choice(text, "length", text_tokens(text), (), thoughts)
    return Choice(text, "stop", tokens, (), thoughts, None, stopped_by)


def _say(asked: VendorRequest, prompt: Prompt, number: int, label: bool, broken: bool) -> str:
    if asked.schema is not None:
        make = violating if broken else conforming
        return orjson.dumps(make(asked.schema, number)).decode()
    if asked.json:
        return orjson.dumps({"simulated": True, "answer": gist(prompt.last)}).decode()
    for text in reversed(prompt.texts):
        if match := _CHOICE.search(text):
            return _choose(match[1], text[: match.start()] + text[match.end() :] + prompt.last, number)
    seen = ""
    if prompt.images:
        kinds = ", ".join(f"{kind}, {size} bytes" if size else f"{kind} image" for kind, size in prompt.images)
        seen = f"Given {len(prompt.images)} image(s) ({kinds}). "
    opening, repeated = _OPENINGS[number % len(_OPENINGS)], prompt.last
    if asked.messages and asked.messages[-1]["role"] == "tool":
        opening, repeated = "The tool says: ", prompt.texts[-1]
    return f"{LABEL if label else ''}{seen}{opening}{gist(repeated)}"


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


def pieces_of(text: str) -> list[str]:
    """A text in the pieces that a stream sends it in: words, and long ones in parts."""
    return _PIECE.findall(text)
