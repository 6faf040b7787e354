"""One AI call as written becomes a call site: its constant arguments, evaluated by the engine, and its request.

Knows how arguments are given, and says what is wrong with them in the same words on every route; runs nothing itself.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from aiq.config.endpoint import Endpoint
from aiq.errors import FunctionError
from aiq.functions.call_site import CallSite, Options
from aiq.functions.signature import FUNCTION
from aiq.functions.types import ddl, infer_type_of_json
from aiq.gateway import Gateway

Constant = Callable[[Any, str], Any]
"""The value of a constant expression, given with the argument it is for. Raises FunctionError where it is none.

An expression is SQL, or a node of the engine's own plan.
"""

PER_ROW = ("request", "files")
"""The arguments that are no constants."""
_SCHEMA_OF_JSON = re.compile(r"^\s*schema_of_json\s*\((.*)\)\s*$", re.IGNORECASE | re.DOTALL)
_MAX_SITES = 100


class Compiled(NamedTuple):
    """A call site, its options, and its request and files as they were given."""

    site: CallSite
    options: Options
    arguments: list[Any]


def compiled(bound: Mapping[str, Any], text: str, constant: Constant, gateway: Gateway) -> Compiled:
    """The call site of `bound` arguments, which are expressions by parameter. Raises FunctionError; makes no call."""
    values = {
        name: _value(expression, name, constant)
        for name, expression in bound.items()
        if name not in PER_ROW and expression is not None
    }
    name, options = endpoint_of(values), options_of(values)
    endpoint = gateway.open_endpoint(name)
    options = with_return_type(options, endpoint, gateway)
    site = CallSite(endpoint, options, error_field=gateway.config.settings.error_field)
    site.text = text
    return Compiled(site, options, [bound[name] for name in PER_ROW if name in bound])


def endpoint_of(values: Mapping[str, Any]) -> str:
    """The name of the endpoint, of a call's constant arguments by parameter. Raises FunctionError."""
    endpoint = values.get("endpoint")
    if not isinstance(endpoint, str):
        raise FunctionError("NON_FOLDABLE_ARGUMENT", "endpoint must be a STRING literal, the name of an endpoint.")
    return endpoint


def options_of(values: Mapping[str, Any]) -> Options:
    """The options of a call, of its constant arguments by parameter, as Python values.

    Raises FunctionError for one of the wrong type.
    """
    fail_on_error = values.get("failOnError")
    if not isinstance(fail_on_error, bool | None):
        raise FunctionError("DATATYPE_MISMATCH", f"failOnError must be a BOOLEAN, not {fail_on_error!r}.")
    parameters = values.get("modelParameters")
    if not isinstance(parameters, dict | None):
        raise FunctionError(
            "DATATYPE_MISMATCH",
            "modelParameters must be a STRUCT: named_struct('temperature', 0.0, ...).",
        )
    texts = {name: values.get(name) for name in ("returnType", "responseFormat")}
    for name, value in texts.items():
        if not isinstance(value, str | None):
            raise FunctionError("DATATYPE_MISMATCH", f"{name} must be a STRING, not {value!r}.")
    return Options(texts["returnType"], fail_on_error is not False, parameters, texts["responseFormat"])


def with_return_type(options: Options, endpoint: Endpoint, gateway: Gateway) -> Options:
    """Options with the returnType that the configuration gives a custom model, where the call gives none."""
    own = gateway.config.settings.endpoints.get(endpoint.name)
    if options.return_type is not None or endpoint.task != "custom" or own is None or own.return_type is None:
        return options
    return options._replace(return_type=own.return_type)


def constants_of(columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> dict[str, Any]:
    """The constant arguments of a call that is evaluated by rows: its columns by parameter, of at least one row.

    Raises FunctionError for an argument that is not the same in all of them.
    """
    values: dict[str, Any] = {}
    for name, column in columns.items():
        if name in PER_ROW:
            continue
        if not column.slice(1).equals(column.slice(0, len(column) - 1)):
            raise not_constant(name, "it is not the same for all rows")
        value = column[0].as_py()
        if pa.types.is_map(column.type) and value is not None:
            value = dict(value)
        values[name] = value
    return values


def not_constant(name: str, reason: str) -> FunctionError:
    """The error for an argument that depends on a row, as `reason` says: `but it is body`."""
    return FunctionError(
        "NON_FOLDABLE_ARGUMENT",
        f"the argument {name} of {FUNCTION} must be a constant, but {reason}. Write a literal, or run one statement "
        "for each value.",
    )


class PlainSites:
    """The call sites of a plain function, which an engine calls with rows and never with the text of a call.

    For several threads at once.
    """

    def __init__(self, check: Callable[[CallSite], None]) -> None:
        """`check` raises for a call site that the function cannot serve."""
        self._check = check
        self._sites: dict[tuple[int, str], CallSite] = {}
        self._lock = threading.Lock()

    def of(self, gateway: Gateway, columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> CallSite:
        """The site of a call, by the configuration as it is now. Raises FunctionError and StatementError."""
        values = constants_of(columns)
        name, options = endpoint_of(values), options_of(values)
        endpoint = gateway.open_endpoint(name)
        options = with_return_type(options, endpoint, gateway)
        key = (id(gateway), repr((values, options.return_type)))
        with self._lock:
            site = self._sites.get(key)
        if site is not None and site.endpoint is endpoint:
            return site
        site = CallSite(endpoint, options, error_field=gateway.config.settings.error_field)
        self._check(site)
        with self._lock:
            if len(self._sites) >= _MAX_SITES:
                self._sites.clear()
            self._sites[key] = site
        return site


def _value(expression: Any, name: str, constant: Constant) -> Any:
    """The value of a constant argument; a returnType may be `schema_of_json('...')` of one."""
    is_type = name in ("returnType", "responseFormat") and isinstance(expression, str)
    sample = _SCHEMA_OF_JSON.match(expression) if is_type else None
    value = constant(sample.group(1) if sample else expression, name)
    return ddl(infer_type_of_json(value)) if sample and isinstance(value, str) else value
