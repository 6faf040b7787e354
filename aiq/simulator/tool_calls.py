"""Which tools the simulated model calls, and with what: from the request alone. Knows no vendor.

A tool is called when `tool_choice` forces it, or when the last message is the user's and names it as a word.
"""

from __future__ import annotations

import re
from hashlib import blake2b

import orjson

from aiq.simulator.exchange import Prompt, Tool, ToolCall, VendorRequest
from aiq.simulator.schema import conforming, violating


def draw(*parts: object) -> int:
    """A 64-bit number from any values: the simulator's only source of variety."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def tool_calls(asked: VendorRequest, prompt: Prompt, number: int, broken: bool) -> tuple[ToolCall, ...]:
    """The calls of an answer, none where it is a text. `broken`: arguments that do not quite conform."""
    make = violating if broken and asked.schema is None else conforming
    return tuple(
        ToolCall(
            f"call_sim{draw(number, position, tool.name):016x}",
            tool.name,
            orjson.dumps(make(tool.schema, number + position)).decode(),
        )
        for position, tool in enumerate(_called(asked, prompt))
    )


def _called(asked: VendorRequest, prompt: Prompt) -> list[Tool]:
    if asked.tool_choice == "none":
        return []
    if asked.tool_choice not in ("auto", "required"):
        return [tool for tool in asked.tools if tool.name == asked.tool_choice][:1]
    named: list[Tool] = []
    if asked.messages[-1]["role"] == "user":
        named = [tool for tool in asked.tools if re.search(rf"(?<!\w){re.escape(tool.name)}(?!\w)", prompt.last)]
    if not named and asked.tool_choice == "required":
        named = list(asked.tools[:1])
    return named if asked.parallel else named[:1]
