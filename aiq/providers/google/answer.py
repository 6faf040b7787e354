"""What Gemini answered, as OpenAI would have: choices, finish reasons, tokens, log probabilities. Must never know an
address, a stream's bytes or an error's body.

Source: the Gemini API reference, `GenerateContentResponse`. Thoughts are counted apart from the answer, and billed as
output with it; cached tokens are a part of the prompt's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from aiq.providers.google.request import OWN_CALL
from aiq.providers.wire.openai_form import count, tool_call
from aiq.providers.wire.usage import tier_of
from aiq.providers.wire.wholeness import OPENAI_REASON, end_of
from aiq.request import Usage


class Message(NamedTuple):
    """What the parts of a candidate say. `calls` are in OpenAI's form, with the signatures of the thoughts before."""

    text: str | None
    thoughts: str
    calls: list[dict[str, Any]]
    signature: str | None

    @property
    def characters(self) -> int:
        """How much there is of it, where its tokens are not counted."""
        calls = sum(len(call["function"]["arguments"]) for call in self.calls)
        return len(self.text or "") + len(self.thoughts) + calls

    def body(self) -> dict[str, Any]:
        """The fields of OpenAI's message, or delta, that there are."""
        message: dict[str, Any] = {}
        if self.text is not None:
            message["content"] = self.text
        if self.thoughts:
            message["reasoning_content"] = self.thoughts
        if self.calls:
            message["tool_calls"] = self.calls
        if self.signature is not None:
            message["extra_content"] = {"google": {"thought_signature": self.signature}}
        return message


def read_parts(parts: Any, response_id: Any, first_call: int = 0) -> Message:
    """What parts say, thoughts apart; the calls in them are numbered from `first_call` on."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    signature = None
    for part in parts:
        text = part.get("text")
        if text is not None:
            (thoughts if part.get("thought") else texts).append(text)
            if not part.get("thought"):
                signature = part.get("thoughtSignature", signature)
        elif "functionCall" in part:
            made = part["functionCall"]
            name, arguments = made["name"], made.get("args") or {}
            if not isinstance(name, str) or not isinstance(arguments, dict):
                raise TypeError("a call names a function and has arguments by name")
            identity = made.get("id") or f"{OWN_CALL}{response_id or ''}_{first_call + len(calls)}"
            call = tool_call(str(identity), name, arguments)
            if "thoughtSignature" in part:
                call["extra_content"] = {"google": {"thought_signature": part["thoughtSignature"]}}
            calls.append(call)
    return Message("".join(texts) if texts else None, "".join(thoughts), calls, signature)


def finish_reason(reason: Any, calls: bool) -> str | None:
    """OpenAI's finish reason, None where there is none for it: the answer is no answer then."""
    finished = OPENAI_REASON.get(end_of("google", reason))
    return "tool_calls" if calls and finished == "stop" else finished


def usage_of(body: Any) -> Usage | None:
    """Tokens as Google counts them; None where there is no count, or none that can be.

    `body` is the whole answer: searches of the web, which are billed by their number, stand in its candidates.
    """
    counts = body.get("usageMetadata") if isinstance(body, dict) else None
    if not isinstance(counts, dict):
        return None
    prompt, said = count(counts.get("promptTokenCount")), count(counts.get("candidatesTokenCount") or 0)
    thoughts, tools = count(counts.get("thoughtsTokenCount") or 0), count(counts.get("toolUsePromptTokenCount") or 0)
    if prompt is None or said is None or thoughts is None or tools is None:
        return None
    total = count(counts.get("totalTokenCount")) or 0
    unexplained = total - prompt - tools - said - thoughts
    if unexplained > 0:  # older versions count thoughts in the total alone
        thoughts += unexplained
    cached = count(counts.get("cachedContentTokenCount"), prompt) or 0
    audio = min(_of_modality(counts, "promptTokensDetails", "AUDIO"), prompt)
    return Usage(
        prompt + tools,
        said + thoughts,
        cached,
        thoughts,
        audio_input_tokens=audio + min(_of_modality(counts, "toolUsePromptTokensDetails", "AUDIO"), tools),
        cached_audio_tokens=min(_of_modality(counts, "cacheTokensDetails", "AUDIO"), cached, audio),
        audio_output_tokens=min(_of_modality(counts, "candidatesTokensDetails", "AUDIO"), said),
        image_output_tokens=min(_of_modality(counts, "candidatesTokensDetails", "IMAGE"), said),
        service_tier=_tier(counts),
        surcharge=_searches(body.get("candidates")),
    )


def _of_modality(counts: dict[str, Any], name: str, modality: str) -> int:
    details = counts.get(name)
    return sum(
        count(detail.get("tokenCount")) or 0
        for detail in (details if isinstance(details, list) else ())
        if isinstance(detail, dict) and detail.get("modality") == modality
    )


def _tier(counts: dict[str, Any]) -> str | None:
    """The Gemini API's `serviceTier`, or Vertex's `trafficType`: ON_DEMAND_PRIORITY is `priority`."""
    word = counts.get("serviceTier") or counts.get("trafficType")
    if not isinstance(word, str):
        return None
    word = word.lower().removeprefix("service_tier_")
    return None if word.endswith("unspecified") else tier_of(word.removeprefix("on_demand_"))


def _searches(candidates: Any) -> str | None:
    queries = 0
    for candidate in candidates if isinstance(candidates, list) else ():
        grounding = candidate.get("groundingMetadata") if isinstance(candidate, dict) else None
        asked = grounding.get("webSearchQueries") if isinstance(grounding, dict) else None
        queries += len(asked) if isinstance(asked, list) else 0
    return f"{queries} web searches" if queries else None


def log_probabilities(result: Any) -> dict[str, Any] | None:
    """`logprobs` of a choice from `logprobsResult`."""
    if not result:
        return None
    tops = result.get("topCandidates") or []
    content = []
    for number, chosen in enumerate(result.get("chosenCandidates") or []):
        token = _token(chosen)
        alternatives = tops[number].get("candidates") or [] if number < len(tops) else []
        token["top_logprobs"] = [_token(other) for other in alternatives]
        content.append(token)
    return {"content": content, "refusal": None}


def _token(candidate: dict[str, Any]) -> dict[str, Any]:
    token = candidate.get("token", "")
    return {"token": token, "logprob": candidate.get("logProbability", 0.0), "bytes": list(token.encode())}
