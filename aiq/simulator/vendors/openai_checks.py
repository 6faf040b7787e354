"""Checks of single values in OpenAI's words, of which the checks of whole requests are made. Knows no request."""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from aiq.simulator.checks import Check
from aiq.simulator.refusal import VendorError, wrong_type


def string(param: str, value: Any) -> None:
    """A text."""
    if not isinstance(value, str):
        raise wrong_type(param, "a string", value)


def boolean(param: str, value: Any) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong_type(param, "a boolean", value)


def object_(param: str, value: Any) -> None:
    """A JSON object."""
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)


def array(param: str, value: Any) -> None:
    """A JSON array."""
    if not isinstance(value, list):
        raise wrong_type(param, "an array", value)


def one_of(*allowed: str) -> Check:
    """One of these texts."""

    def check(param: str, value: Any) -> None:
        string(param, value)
        if value not in allowed:
            raise not_among(param, value, allowed)

    return check


def not_among(param: str, value: Any, allowed: Sequence[str]) -> VendorError:
    """A 400 for a text that is none of the allowed ones."""
    names = ", ".join(f"'{name}'" for name in allowed)
    return invalid(param, f"Invalid value: '{value}'. Supported values are: {names}.")


def invalid(param: str, words: str) -> VendorError:
    """A 400 for a value of the right type that cannot be."""
    return VendorError(400, words, param=param, code="invalid_value")


def number(low: float, high: float, *, integer_only: bool = False) -> Check:
    """A number within bounds."""
    noun, expected = ("integer", "an integer") if integer_only else ("decimal", "a decimal number")

    def check(param: str, value: Any) -> None:
        if type(value) is not int and (integer_only or type(value) is not float):
            raise wrong_type(param, expected, value)
        if not low <= value <= high:
            side, word, sign, bound = (
                ("below", "minimum", ">=", low) if value < low else ("above", "maximum", "<=", high)
            )
            raise VendorError(
                400,
                f"Invalid '{param}': {noun} {side} {word} value. Expected a value {sign} {bound}, "
                f"but got {value} instead.",
                param=param,
                code=f"{noun}_{side}_{word[:3]}_value",
            )

    return check


def integer(low: int, high: int = 2**63 - 1) -> Check:
    """A whole number within bounds."""
    return number(low, high, integer_only=True)


def empty_array(param: str) -> VendorError:
    """A 400 for an array without elements."""
    return VendorError(
        400,
        f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        param=param,
        code="empty_array",
    )


def too_long(param: str, value: Sequence[Any], most: int) -> VendorError:
    """A 400 for an array with more than so many elements."""
    return VendorError(
        400,
        f"Invalid '{param}': array too long. Expected an array with maximum length {most}, but got an array with "
        f"length {len(value)} instead.",
        param=param,
        code="array_above_max_length",
    )


def missing(param: str) -> VendorError:
    """A 400 for a parameter that is not there."""
    return VendorError(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def is_image_data(url: str) -> bool:
    """Whether a URL is an image in base64."""
    head, separator, data = url.partition(";base64,")
    if not separator or not head.startswith("data:image/") or not data:
        return False
    try:
        binascii.a2b_base64(data, strict_mode=True)
    except (binascii.Error, ValueError):
        return False
    return True


def check_all(body: Mapping[str, Any], checks: Mapping[str, Check], *required: str, of: str = "") -> None:
    """Refuse (400) a missing `required` parameter, an unknown one, and a wrong value. Null is a value left out.

    `of` is the parameter whose value `body` is, with a dot behind it.
    """
    for name in required:
        if name not in body:
            raise missing(of + name)
    for name, value in body.items():
        check, param = checks.get(name), of + name
        if check is None:
            raise VendorError(400, f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")
        if value is not None or name in required:
            check(param, value)
