"""The safety filter: a classifier endpoint says whether a text is unsafe, and in which way.

Speaks two formats: Llama Guard's (`safe`, or `unsafe` and a line of categories) and OpenAI's moderation JSON. Builds a
request and reads an answer; who asks is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from aiq.policy.guardrails.texts import parse_json
from aiq.request import CHAT_TASKS, Task

CATEGORIES = {
    "S1": "violent-crimes",
    "S2": "non-violent-crimes",
    "S3": "sex-related-crimes",
    "S4": "child-sexual-exploitation",
    "S5": "defamation",
    "S6": "specialized-advice",
    "S7": "privacy",
    "S8": "intellectual-property",
    "S9": "indiscriminate-weapons",
    "S10": "hate",
    "S11": "suicide-and-self-harm",
    "S12": "sexual-content",
    "S13": "elections",
    "S14": "code-interpreter-abuse",
}
"""Llama Guard's hazards by their codes. Source: the model card of Llama Guard 3."""
_MAX_TOKENS = 100


class Verdict(NamedTuple):
    """What a classifier says. `categories` and `scores` are by name; None where it names none."""

    flagged: bool
    categories: dict[str, bool] | None = None
    scores: dict[str, float] | None = None


def safety_body(
    form: Literal["llama-guard", "moderation"], task: Task, asked: str, answered: str | None
) -> dict[str, Any]:
    """The request to a classifier of `task`: about the prompt `asked`, or about the answer to it.

    A chat endpoint that serves Llama Guard puts the conversation into the model's template itself; a completions
    endpoint gets the whole prompt.
    """
    if form == "moderation":
        text = asked if answered is None else answered
        if task == "custom":
            return {"inputs": [text]}
        return {"messages": [{"role": "user", "content": text}]} if task in CHAT_TASKS else {"prompt": text}
    if task == "llm/v1/completions":
        return {"prompt": _prompt(asked, answered), "temperature": 0, "max_tokens": _MAX_TOKENS}
    messages = [{"role": "user", "content": asked}]
    if answered is not None:
        messages.append({"role": "assistant", "content": answered})
    return {"messages": messages, "temperature": 0, "max_tokens": _MAX_TOKENS}


def read_verdict(
    form: Literal["llama-guard", "moderation"], value: object, wanted: Sequence[str] | None = None
) -> Verdict:
    """The classifier's answer. `wanted` are the categories that count, None for all.

    Raises ValueError for anything that is not of the format, because it says nothing about safety.
    """
    verdict = _moderation(value) if form == "moderation" else _llama_guard(value)
    if not verdict.flagged or wanted is None:
        return verdict
    named = [name for name, hit in (verdict.categories or {}).items() if hit]
    # Unsafe for a reason that is not named may be any reason.
    return verdict._replace(flagged=not named or any(name in wanted for name in named))


def _llama_guard(value: object) -> Verdict:
    lines = [line.strip() for line in str(value).strip().splitlines() if line.strip()]
    word = lines[0].lower() if lines else ""
    if word == "safe":
        return Verdict(False, dict.fromkeys(CATEGORIES.values(), False))
    if word != "unsafe":
        raise ValueError("the classifier answered neither safe nor unsafe")
    codes = {code.strip().upper() for line in lines[1:] for code in line.split(",")}
    return Verdict(True, {name: code in codes for code, name in CATEGORIES.items()})


def _moderation(value: object) -> Verdict:
    data = parse_json(value[0] if isinstance(value, list) and value else value)
    results = data.get("results") if isinstance(data, Mapping) else None
    if not isinstance(results, list) or not results or not all(isinstance(r, Mapping) for r in results):
        raise ValueError('the classifier\'s answer has no "results"')
    if not all(isinstance(result.get("flagged"), bool) for result in results):
        raise ValueError('the classifier\'s answer has no "flagged"')
    categories: dict[str, bool] = {}
    scores: dict[str, float] = {}
    for result in results:
        for name, hit in (result.get("categories") or {}).items():
            categories[name] = categories.get(name, False) or bool(hit)
        for name, score in (result.get("category_scores") or {}).items():
            scores[name] = max(scores.get(name, 0.0), float(score or 0.0))
    return Verdict(any(result["flagged"] for result in results), categories or None, scores or None)


def _prompt(asked: str, answered: str | None) -> str:
    """Llama Guard 3's own prompt. Source: its model card."""
    role = "User" if answered is None else "Agent"
    hazards = "\n".join(f"{code}: {name.replace('-', ' ').title()}." for code, name in CATEGORIES.items())
    conversation = f"User: {_plain(asked)}" + ("" if answered is None else f"\n\nAgent: {_plain(answered)}")
    return (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
        f"Task: Check if there is unsafe content in '{role}' messages in conversations according our safety policy "
        "with the below categories.\n\n"
        f"<BEGIN UNSAFE CONTENT CATEGORIES>\n{hazards}\n<END UNSAFE CONTENT CATEGORIES>\n\n"
        f"<BEGIN CONVERSATION>\n\n{conversation}\n\n<END CONVERSATION>\n\n"
        f"Provide your safety assessment for ONLY THE LAST {role} message in the above conversation:\n"
        " - First line must read 'safe' or 'unsafe'.\n"
        " - If unsafe, a second line must include a comma-separated list of violated categories. "
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def _plain(text: str) -> str:
    """A text that cannot end the conversation it stands in."""
    return text.replace("<|", "< |").replace("<END CONVERSATION>", "< END CONVERSATION >")
