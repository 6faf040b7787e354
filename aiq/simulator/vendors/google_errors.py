"""Errors as Google's APIs tell them: google.rpc.Status with its details. Knows no route and decides nothing.

Source: Google's AIP-193; the Gemini API's troubleshooting guide; bodies that people have published.
"""

from __future__ import annotations

from typing import Any, NoReturn

from aiq.simulator.refusal import OverQuota, VendorError

_TYPE = "type.googleapis.com/google.rpc."
_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    504: "DEADLINE_EXCEEDED",
}
_QUOTAS = {
    "requests": ("generate_content_requests", "GenerateRequestsPerMinutePerProjectPerModel"),
    "input": ("generate_content_input_token_count", "GenerateContentInputTokensPerModelPerMinute"),
    "day": ("generate_content_requests", "GenerateRequestsPerDayPerProjectPerModel"),
}
WORDS: dict[str, tuple[int, str]] = {
    "401": (401, "Request had invalid authentication credentials. Expected OAuth 2 access token or API key."),
    "402": (402, "Your prepayment credits are depleted. Please add credits to your project."),
    "403": (403, "Permission denied on resource."),
    "404": (404, "models/unknown is not found for API version v1beta, or is not supported for generateContent."),
    "429": (429, "Resource exhausted. Please try again later."),
    "500": (500, "An internal error has occurred. Please retry or report."),
    "503": (503, "The model is overloaded. Please try again later."),
    "504": (504, "Deadline expired before operation could complete."),
    "context-length": (400, "The input token count (9001) exceeds the maximum number of tokens allowed (8192)."),
    "quota-exhausted": (429, "Your prepayment credits are depleted. Please add credits to your project."),
}
"""Google's status and words for a fault."""


def invalid(message: str, *fields: str, status: str = "") -> NoReturn:
    """Refuse (400) a request; `fields` are the paths of what is wrong, `status` is Google's name for it."""
    raise VendorError(400, message, code=status or None, details={"fields": fields})


def body_of(refusal: VendorError, model: str) -> dict[str, Any]:
    """The body of an error."""
    name = refusal.code if refusal.code in ("FAILED_PRECONDITION", "OUT_OF_RANGE") else None
    error: dict[str, Any] = {
        "code": refusal.status,
        "message": refusal.message,
        "status": name or _NAMES.get(refusal.status, "UNAVAILABLE" if refusal.status > 500 else "INVALID_ARGUMENT"),
    }
    details = _details(refusal, model)
    if details:
        error["details"] = details
    return {"error": error}


def _details(refusal: VendorError, model: str) -> list[dict[str, Any]]:
    details: list[dict[str, Any]] = []
    facts = refusal.details
    if "reason" in facts:
        details.append({"@type": f"{_TYPE}ErrorInfo", "reason": facts["reason"], "domain": "googleapis.com"})
    if facts.get("fields"):
        violations = [{"field": field, "description": refusal.message} for field in facts["fields"]]
        details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": violations})
    if isinstance(refusal, OverQuota):
        metric, identity = _QUOTAS[facts["unit"]]
        violation = {
            "quotaMetric": f"generativelanguage.googleapis.com/{metric}",
            "quotaId": identity,
            "quotaDimensions": {"location": "global", "model": model},
            "quotaValue": str(facts["limit"]),
        }
        details.append({"@type": f"{_TYPE}QuotaFailure", "violations": [violation]})
    if refusal.retry_s is not None:
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{refusal.retry_s:.9f}s"})
    return details
