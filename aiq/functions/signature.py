"""The signature of `ai_query` and how arguments are bound to it, positional and named, as SQL does.

Source: Databricks `ai_query`; error conditions are Spark's for named arguments.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TypeVar

from aiq.errors import FunctionError

T = TypeVar("T")

FUNCTION = "ai_query"
NOT_ROWS = f"{FUNCTION} gives one value for each row; call it in SELECT, not in FROM"
PARAMETERS = (
    "endpoint",
    "request",
    "returnType",
    "failOnError",
    "modelParameters",
    "responseFormat",
    "files",
)
REQUIRED = PARAMETERS[:2]
_BY_LOWER = {name.lower(): name for name in PARAMETERS} | {"return_type": "returnType"}


def in_pairs(arguments: Sequence[tuple[str | None, str]]) -> Sequence[tuple[str | None, str]]:
    """Arguments as written, those of 2023 by name: `ai_query(e, x, 'returnType', 'STRING')`.

    From the third on they come in pairs there, each with its name as a text before it.
    """
    rest = arguments[2:]
    names = [_BY_LOWER.get(text.strip().strip("'\"").lower()) for _, text in rest[::2]]
    if not rest or len(rest) % 2 or None in names or any(name is not None for name, _ in arguments):
        return arguments
    return [*arguments[:2], *((name, text) for name, (_, text) in zip(names, rest[1::2], strict=True))]


def bind(arguments: Sequence[tuple[str | None, T]]) -> dict[str, T]:
    """Arguments by parameter name. `arguments` are (name or None, value) in the order they were written.

    Raises FunctionError for too many or too few, unknown, repeated, or positional after named.
    """
    bound: dict[str, T] = {}
    for position, (name, value) in enumerate(arguments):
        if name is None:
            if any(earlier is not None for earlier, _ in arguments[:position]):
                raise FunctionError(
                    "UNEXPECTED_POSITIONAL_ARGUMENT",
                    f"{FUNCTION} has a positional argument after a named one; name argument {position + 1} too.",
                )
            if position >= len(PARAMETERS):
                raise FunctionError(
                    "WRONG_NUM_ARGS",
                    f"{FUNCTION} takes 2 to {len(PARAMETERS)} arguments ({', '.join(PARAMETERS)}), "
                    f"but {len(arguments)} were given.",
                )
            parameter = PARAMETERS[position]
        else:
            known = _BY_LOWER.get(name.lower())
            if known is None:
                near = difflib.get_close_matches(name.lower(), list(_BY_LOWER), 1)
                hint = f" Did you mean {_BY_LOWER[near[0]]}?" if near else ""
                raise FunctionError(
                    "UNRECOGNIZED_PARAMETER_NAME",
                    f"{FUNCTION} has no parameter '{name}'.{hint} It takes: {', '.join(PARAMETERS)}.",
                )
            parameter = known
        if parameter in bound:
            raise FunctionError(
                "DUPLICATE_ROUTINE_PARAMETER_ASSIGNMENT", f"{FUNCTION} got the argument {parameter} twice."
            )
        bound[parameter] = value
    for parameter in REQUIRED:
        if parameter not in bound:
            raise FunctionError(
                "REQUIRED_PARAMETER_NOT_FOUND",
                f"{FUNCTION} needs the argument {parameter}: {FUNCTION}('endpoint', request).",
            )
    return bound
