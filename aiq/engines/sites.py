"""One AI call as written becomes a call site: its constant arguments, evaluated by the engine, and its request.

Knows how arguments are given; runs nothing itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from aiq.errors import FunctionError
from aiq.functions.call_site import CallSite, Options
from aiq.functions.types import ddl, infer_type_of_json
from aiq.gateway import Gateway

Constant = Callable[[Any, str], Any]
"""The value of a constant expression, given with the argument it is for. Raises FunctionError where it is none.

An expression is SQL, or a node of the engine's own plan.
"""

_SCHEMA_OF_JSON = re.compile(r"^\s*schema_of_json\s*\((.*)\)\s*$", re.IGNORECASE | re.DOTALL)


class Compiled(NamedTuple):
    """A call site, its options, and its request and files as they were given."""

    site: CallSite
    options: Options
    arguments: list[Any]


def compiled(bound: Mapping[str, Any], text: str, constant: Constant, gateway: Gateway) -> Compiled:
    """The call site of `bound` arguments, which are expressions by parameter. Raises FunctionError; makes no call."""

    def value(name: str) -> Any:
        expression = bound.get(name)
        return None if expression is None else constant(expression, name)

    endpoint = value("endpoint")
    if not isinstance(endpoint, str):
        raise FunctionError("NON_FOLDABLE_ARGUMENT", "endpoint must be a STRING literal, the name of an endpoint.")
    fail_on_error = value("failOnError")
    if not isinstance(fail_on_error, bool | None):
        raise FunctionError("DATATYPE_MISMATCH", f"failOnError must be a BOOLEAN, not {fail_on_error!r}.")
    parameters = value("modelParameters")
    if not isinstance(parameters, dict | None):
        raise FunctionError(
            "DATATYPE_MISMATCH",
            "modelParameters must be a STRUCT: named_struct('temperature', 0.0, ...).",
        )
    options = Options(
        _type_text(bound.get("returnType"), "returnType", constant),
        fail_on_error is not False,
        parameters,
        _type_text(bound.get("responseFormat"), "responseFormat", constant),
    )
    site = CallSite(gateway.open_endpoint(endpoint), options, error_field=gateway.config.settings.error_field)
    site.text = text
    return Compiled(site, options, [bound[name] for name in ("request", "files") if name in bound])


def _type_text(expression: Any, name: str, constant: Constant) -> str | None:
    """A DDL text: a constant STRING, or `schema_of_json('...')` of one."""
    if expression is None:
        return None
    sample = _SCHEMA_OF_JSON.match(expression) if isinstance(expression, str) else None
    value = constant(sample.group(1) if sample else expression, name)
    if value is not None and not isinstance(value, str):
        raise FunctionError("DATATYPE_MISMATCH", f"{name} must be a STRING, not {value!r}.")
    return ddl(infer_type_of_json(value)) if sample and value is not None else value
