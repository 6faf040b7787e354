"""Whether a request was signed with AWS's Signature Version 4, computed again from what arrived. Knows no service.

Source: AWS's "Signature Version 4 for API requests" and its errors ("Common errors").
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from urllib.parse import parse_qsl, quote

from aiq.simulator.exchange import VendorCall
from aiq.simulator.refusal import VendorError

MAX_SKEW_S = 300
ALGORITHM = "AWS4-HMAC-SHA256"
TEMPORARY = "ASIA"
"""So the ids of temporary keys begin, which are worth nothing without their session token."""
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} +Credential=(?P<credential>[^,\s]+), *SignedHeaders=(?P<signed>[^,\s]+), *"
    r"Signature=(?P<signature>\w+)"
)
_TIME = "%Y%m%dT%H%M%SZ"


def verify(call: VendorCall, service: str, secret_of: Callable[[str], str | None], now_s: float) -> str:
    """The id of the access key that signed the call. Raises VendorError (403) where none of ours did, or not now."""
    header = call.headers.get(b"authorization", b"").decode("latin-1")
    if not header:
        raise _refuse("MissingAuthenticationTokenException", "Missing Authentication Token")
    found = _AUTHORIZATION.fullmatch(header.strip())
    scope = found["credential"].split("/") if found is not None else []
    if found is None or len(scope) != 5 or scope[4] != "aws4_request":
        raise _refuse(
            "IncompleteSignatureException",
            "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' parameters, and a credential "
            "of the form KEY/DATE/REGION/SERVICE/aws4_request.",
        )
    key_id, date, region, scoped = scope[:4]
    if scoped != service:
        raise _mismatch(f"Credential should be scoped to correct service: '{service}'.")
    at = call.headers.get(b"x-amz-date", b"").decode("latin-1")
    _check_time(at, date, now_s)
    secret = secret_of(key_id)
    token = call.headers.get(b"x-amz-security-token", b"").decode("latin-1")
    if key_id.startswith(TEMPORARY) and _is_over(token, now_s):
        raise _refuse("ExpiredTokenException", "The security token included in the request is expired")
    if secret is None or key_id.startswith(TEMPORARY) != bool(token):
        raise _refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
    signed = found["signed"].split(";")
    if token and "x-amz-security-token" not in signed:
        raise _mismatch("'X-Amz-Security-Token' must be a 'SignedHeader' in the AWS Authorization.")
    if "host" not in signed or "x-amz-date" not in signed:
        raise _mismatch("'Host' and 'X-Amz-Date' must be 'SignedHeaders' in the AWS Authorization.")
    words = "\n".join([ALGORITHM, at, "/".join(scope[1:]), hashlib.sha256(_canonical(call, signed)).hexdigest()])
    key = b"AWS4" + secret.encode()
    for part in (date, region, scoped, "aws4_request", words):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    if not hmac.compare_digest(key.hex(), found["signature"]):
        raise _mismatch(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details."
        )
    return key_id


def _is_over(token: str, now_s: float) -> bool:
    """A token `session-until-<seconds since 1970>` ends then; any other one has no end."""
    ends = token.removeprefix("session-until-")
    return ends != token and ends.isdigit() and int(ends) <= now_s


def _check_time(at: str, date: str, now_s: float) -> None:
    try:
        signed_s = calendar.timegm(time.strptime(at, _TIME))
    except ValueError:
        raise _mismatch("The request has no valid X-Amz-Date.") from None
    if at[:8] != date:
        raise _mismatch(f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date: {date} {at}")
    now = time.strftime(_TIME, time.gmtime(now_s))
    if signed_s < now_s - MAX_SKEW_S:
        raise _mismatch(f"Signature expired: {at} is now earlier than {now} - 5 min.")
    if signed_s > now_s + MAX_SKEW_S:
        raise _mismatch(f"Signature not yet current: {at} is still later than {now} + 5 min.")


def _canonical(call: VendorCall, signed: list[str]) -> bytes:
    """The canonical request, from the bytes that arrived."""
    path, _, query = call.target.decode("latin-1").partition("?")
    lines = [call.method.decode("latin-1"), _canonical_path(path), _canonical_query(query)]
    for name in sorted(signed):
        value = call.headers.get(name.encode("latin-1"), b"").decode("latin-1")
        lines.append(f"{name}:{' '.join(value.split())}")
    return "\n".join([*lines, "", ";".join(sorted(signed)), hashlib.sha256(call.body).hexdigest()]).encode()


def _canonical_path(path: str) -> str:
    """Without dot segments and doubled slashes, and each segment, which is escaped already, escaped again."""
    segments: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            segments = segments[:-1]
        elif segment and segment != ".":
            segments.append(quote(segment, safe="~"))
    return "/" + "/".join(segments) + ("/" if segments and path.endswith("/") else "")


def _canonical_query(query: str) -> str:
    pairs = [
        (quote(name, safe="~"), quote(value, safe="~")) for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _mismatch(words: str) -> VendorError:
    return _refuse("InvalidSignatureException", words)


def _refuse(name: str, words: str) -> VendorError:
    return VendorError(403, words, kind=name)
