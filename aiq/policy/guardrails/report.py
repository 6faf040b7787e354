"""What the guardrails of one side found, and how Databricks' REST body and an SQL row say it.

Source of the shapes: Databricks AI Gateway's guardrails (version 1). Knows no text but masked text.
"""

from __future__ import annotations

from typing import Any, Literal

import orjson

from aiq.config.endpoint import Guardrails, SideGuardrails
from aiq.errors import GuardrailBlocked
from aiq.policy.guardrails.custom import Decision
from aiq.policy.guardrails.safety import Verdict
from aiq.request import Usage

Side = Literal["input", "output"]


class Findings:
    """Filled while the guards of one side run. Filters that are off, or did not get to run, stay None."""

    def __init__(self, side: Side, guardrails: Guardrails) -> None:
        self.side: Side = side
        self.guardrails = guardrails
        self.filters: SideGuardrails = guardrails.input if side == "input" else guardrails.output
        self.entities: tuple[str, ...] | None = () if self.filters.pii != "NONE" else None
        self.fixed: tuple[str, ...] = ()
        """Places of a request with personal data, where no label can stand."""
        self.keyword: str | None = None
        self.verdict: Verdict | None = None
        self.off_topic: bool | None = None
        self.custom: dict[str, Decision] = {}
        self.failed: dict[str, str] = {}
        """Guards that gave no answer, with why."""

    @property
    def blocked(self) -> bool:
        """True where the request must not go on."""
        return bool(
            (self.entities and self.filters.pii == "BLOCK")
            or self.fixed
            or self.keyword is not None
            or (self.verdict is not None and self.verdict.flagged)
            or self.off_topic
            or any(decision.rejected for decision in self.custom.values())
            or (self.failed and self.guardrails.on_error == "block")
        )

    @property
    def acted(self) -> tuple[str, ...]:
        """What the ledger says: `pii:EMAIL_ADDRESS`, `invalid_keywords`, `safety:hate`, `custom:<endpoint>`, ..."""
        names = [f"pii:{entity}" for entity in self.entities or ()]
        if self.keyword is not None:
            names.append("invalid_keywords")
        if self.verdict is not None and self.verdict.flagged:
            hazards = [name for name, hit in (self.verdict.categories or {}).items() if hit]
            names += [f"safety:{name}" for name in hazards] or ["safety"]
        if self.off_topic:
            names.append("off_topic")
        names += [f"custom:{name}" for name, decision in self.custom.items() if decision.rejected]
        names += [f"{name}:failed" for name in self.failed]
        return tuple(names)

    def element(self, anonymized: list[Any] | None = None) -> dict[str, Any]:
        """The element of `input_guardrail` or `output_guardrail`; `anonymized` are the masked messages."""
        verdict = self.verdict
        element: dict[str, Any] = {
            "flagged": verdict is not None and verdict.flagged,
            "categories": verdict.categories if verdict is not None else None,
            "category_scores": verdict.scores if verdict is not None else None,
            "pii_detection": None if self.entities is None else bool(self.entities),
            f"anonymized_{self.side}": anonymized,
            "invalid_keywords": self.keyword is not None if self.filters.invalid_keywords else None,
            "off_topic": self.off_topic,
        }
        # Databricks has no words for the two below; without them there, its body stays as it is.
        shown = {name: d.response for name, d in self.custom.items() if d.response is not None}
        if shown or any(decision.rejected for decision in self.custom.values()):
            element["custom_guardrails"] = [
                {"endpoint": name, "reject_message": d.message if d.rejected else None, "response": d.response}
                for name, d in self.custom.items()
                if d.rejected or name in shown
            ]
        if self.failed:
            element["failed"] = list(self.failed)
        return element

    def error(
        self, endpoint: str, anonymized: list[Any] | None, usage: Usage | None, content: str | None
    ) -> GuardrailBlocked:
        """The error of a request that is blocked. `content` is what was blocked, kept only where it may be logged."""
        tokens = {"prompt_tokens": 0, "total_tokens": 0}
        if usage is not None:
            total = usage.input_tokens + usage.output_tokens
            tokens = {
                "prompt_tokens": usage.input_tokens,
                "completion_tokens": usage.output_tokens,
                "total_tokens": total,
            }
        report: dict[str, object] = {
            "usage": tokens,
            f"{self.side}_guardrail": [self.element(anonymized)],
            "finishReason": f"{self.side}_guardrail_triggered",
        }
        return GuardrailBlocked(
            self._sentence(),
            endpoint=endpoint,
            side=self.side,
            findings=self.acted,
            message=orjson.dumps(report).decode(),
            report=report,
            usage=usage,
            blocked=content if self.guardrails.log_blocked else None,
        )

    def _sentence(self) -> str:
        what = "The request" if self.side == "input" else "The answer"
        where = f"ai_gateway.guardrails.{self.side}"
        reasons = []
        if self.entities and self.filters.pii == "BLOCK":
            reasons.append(
                f"it holds personal data ({', '.join(self.entities)}); to mask it instead, set {where}.pii.behavior "
                "to MASK"
            )
        elif self.fixed:
            reasons.append(
                f"it holds personal data ({', '.join(self.entities or ())}) in {', '.join(self.fixed)}, where no label "
                "can stand in its place; take it out there"
            )
        if self.keyword is not None:
            reasons.append(f"it holds a word of {where}.invalid_keywords; take the word out")
        if self.verdict is not None and self.verdict.flagged:
            hazards = ", ".join(name for name, hit in (self.verdict.categories or {}).items() if hit) or "not named"
            reasons.append(f"the safety filter flagged it ({hazards}); ask for something else")
        if self.off_topic:
            reasons.append(f"it is about none of {where}.valid_topics ({', '.join(self.filters.valid_topics)})")
        for name, decision in self.custom.items():
            if decision.rejected:
                reasons.append(f"the custom guardrail '{name}' rejected it: {decision.message or 'it says no reason'}")
        if self.guardrails.on_error == "block":
            for name, why in self.failed.items():
                reasons.append(
                    f"the guard {name} failed ({why}), and what it did not check does not pass; repair it and run again"
                )
        return f"{what} was blocked by a guardrail: {'; '.join(reasons)}."
