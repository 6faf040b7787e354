"""The `modelParameters` argument of `ai_query`: checked by name, type and range before any call.

Must never know which model answers; what a model itself refuses is for its provider to say.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import orjson

from aiq.errors import FunctionError
from aiq.functions.types import shorten
from aiq.providers.abilities import Abilities
from aiq.request import Task

Check = Callable[[str, Any], Any]
"""(name, value) -> the value as JSON takes it; raises Refused."""


class Refused(Exception):
    """A parameter is not acceptable: Databricks' sub-condition and a person's `reason`, without a full stop."""

    def __init__(self, sub_condition: str, reason: str) -> None:
        self.sub_condition, self.reason = sub_condition, reason


def _wrong_type(name: str, value: Any, expected: str) -> Refused:
    reason = f"{_quoted(name)} must be {expected}, but is {shorten(_json(value), 40)}"
    return Refused("INVALID_PARAMETER_DATA_TYPE", reason)


_MAX = 2**63 - 1


def _number(low: int, high: int = _MAX, *, integer: bool = False, because: str = "") -> Check:
    expected = "a whole number" if integer else "a number"
    bounds = f"at least {low}" if high == _MAX else f"between {low} and {high}" if low < high else f"{low}"

    def check(name: str, value: Any) -> int | float:
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise _wrong_type(name, value, expected)
        is_decimal_nan = isinstance(value, Decimal) and value.is_nan()  # which cannot be compared
        if is_decimal_nan or not low <= value <= high:
            reason = f"{_quoted(name)} must be {bounds}, but is {shorten(_json(value), 40)}{because}"
            raise Refused("INVALID_NUMERIC_PARAMETER", reason)
        if not integer:
            return float(value)
        if value != int(value):
            raise _wrong_type(name, value, expected)
        return int(value)

    return check


def _of_class(cls: type, expected: str) -> Check:
    def check(name: str, value: Any) -> Any:
        if not isinstance(value, cls):
            raise _wrong_type(name, value, expected)
        return value

    return check


def _map_of(check_item: Check, expected: str) -> Check:
    def check(name: str, value: Any) -> dict[str, Any]:
        entries = _entries(name, value, expected)
        return {key: check_item(f"{name}.{key}", item) for key, item in entries.items() if item is not None}

    return check


def _entries(name: str, value: Any, expected: str) -> dict[str, Any]:
    """A SQL struct arrives as a mapping, a SQL map as a mapping or as key-value pairs."""
    if not isinstance(value, Mapping):
        is_pairs = isinstance(value, list | tuple) and all(isinstance(p, tuple) and len(p) == 2 for p in value)
        if not is_pairs:
            raise _wrong_type(name, value, expected)
    entries = dict(value)
    if not all(isinstance(key, str) for key in entries):
        raise _wrong_type(name, value, expected)
    return entries


def _stop(name: str, value: Any) -> str | list[str]:
    if isinstance(value, str):
        return value
    texts = list(value) if isinstance(value, list | tuple) else []
    if not 1 <= len(texts) <= 4 or not all(isinstance(text, str) for text in texts):
        raise _wrong_type(name, value, "a STRING or an ARRAY of 1 to 4 STRINGs")
    return texts


def _tools(name: str, value: Any) -> Any:
    if not isinstance(value, list | tuple) or not all(isinstance(tool, Mapping) for tool in value):
        raise _wrong_type(name, value, "an ARRAY of STRUCTs")
    return _plain(name, value)


def _tool_choice(name: str, value: Any) -> Any:
    if not isinstance(value, str | Mapping):
        raise _wrong_type(name, value, "a STRING or a STRUCT")
    return _plain(name, value)


def _plain(name: str, value: Any) -> Any:
    """Any value that JSON has, with tuples as lists, Decimals as numbers and NULLs in structs left out."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | float | Decimal):
        return _plain_number(name, value)
    if isinstance(value, Mapping):
        items = _entries(name, value, "a STRUCT").items()
        return {key: _plain(f"{name}.{key}", item) for key, item in items if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(name, item) for item in value]
    raise _wrong_type(name, value, "a type that JSON has")


def _plain_number(name: str, value: int | float | Decimal) -> int | float:
    is_finite = value.is_finite() if isinstance(value, Decimal) else -math.inf < value < math.inf
    if not is_finite or not (isinstance(value, float) or -_MAX <= value <= _MAX):
        raise Refused("INVALID_NUMERIC_PARAMETER", f"{_quoted(name)} must be a finite number of 64 bits")
    if isinstance(value, Decimal):
        return int(value) if value.as_tuple().exponent == 0 else float(value)
    return value


_BOOLEAN, _STRING = _of_class(bool, "a BOOLEAN"), _of_class(str, "a STRING")
_SAMPLING: dict[str, Check] = {
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "max_tokens": _number(1, integer=True),
    "n": _number(1, 1, integer=True, because="; a SQL function returns one answer a row"),
    "stop": _stop,
    "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2),
    "logit_bias": _map_of(_number(-100, 100), "a MAP of token ids to numbers"),
    "seed": _number(-_MAX, integer=True),
    "user": _STRING,
}
_KNOWN: dict[str, dict[str, Check]] = {
    "llm/v1/chat": {
        **_SAMPLING,
        "max_completion_tokens": _number(1, integer=True),
        "logprobs": _BOOLEAN,
        "top_logprobs": _number(0, 20, integer=True),
        "reasoning_effort": _STRING,
        "verbosity": _STRING,
        "service_tier": _STRING,
        "metadata": _map_of(_STRING, "a MAP of STRINGs"),
        "store": _BOOLEAN,
        "safety_identifier": _STRING,
        "prompt_cache_key": _STRING,
        "tools": _tools,
        "tool_choice": _tool_choice,
        "parallel_tool_calls": _BOOLEAN,
    },
    "llm/v1/completions": {
        **_SAMPLING,
        "logprobs": _number(0, 5, integer=True),
        "best_of": _number(1, 20, integer=True),
        "echo": _BOOLEAN,
        "suffix": _STRING,
    },
    "llm/v1/embeddings": {"dimensions": _number(1, integer=True), "user": _STRING},
}
"""Names, types and ranges of OpenAI's API, by task."""

_RESERVED = {
    "prompt": "it is the argument `request`",
    "messages": "they are made from the argument `request`",
    "input": "it is the argument `request`",
    "model": "the endpoint's configuration names it",
    "stream": "a SQL function answers at once",
    "stream_options": "a SQL function answers at once",
    "response_format": "use the argument `responseFormat`",
    "encoding_format": "the engine chooses how embeddings travel",
}


_OPENAI = {"openai": Abilities()}


def check_model_parameters(
    params: Mapping[str, Any], *, task: Task, endpoint: str, providers: Mapping[str, Abilities] = _OPENAI
) -> dict[str, Any]:
    """The parameters as they go into the request's body; NULLs are left out.

    `params` are Python values of a SQL struct or map, where a number may be a Decimal. Numbers come back as
    int or float by the parameter's type, so that 0, 0.0 and Decimal('0.0') give one request. `providers` are those
    that may be asked: each has to honour every parameter. A map `extra_params` is spread out, and what is in it goes
    to the provider unchecked.

    Raises FunctionError AI_FUNCTION_INVALID_MODEL_PARAMETERS with Databricks' sub-condition.
    """
    try:
        return checked_parameters(params, task=task, providers=providers)
    except Refused as e:
        given = shorten(_json(params), 90)
        raise FunctionError(
            f"AI_FUNCTION_INVALID_MODEL_PARAMETERS.{e.sub_condition}",
            f"model parameters ({given}) invalid in the AI_QUERY function for serving endpoint "
            f'"{shorten(endpoint, 63)}": {shorten(e.reason, 180)}.',
        ) from None


def checked_parameters(params: Mapping[str, Any], *, task: Task, providers: Mapping[str, Abilities]) -> dict[str, Any]:
    """As `check_model_parameters`, for others than SQL. Raises Refused."""
    known = _KNOWN.get(task)
    if known is None:
        reason = f"task {shorten(task, 30)} takes no modelParameters; a custom model's inputs go into `request`"
        raise Refused("UNSUPPORTED_ENDPOINT_TYPE", reason)
    given = dict(params)
    extra = given.pop("extra_params", None)
    extra = {} if extra is None else _entries("extra_params", extra, "a MAP or a STRUCT")
    for name in (*given, *extra):
        if name in _RESERVED:
            raise Refused("FOUND_RESERVED_PARAMETER_NAME", f"{_quoted(name)} is reserved: {_RESERVED[name]}")
        if name in given and name in extra:
            raise Refused("UNSUPPORTED_MODEL_PARAMETER", f"{_quoted(name)} is there again in `extra_params`")
        if name not in extra:
            _check_known(name, known, task, providers)
    return {name: known.get(name, _plain)(name, value) for name, value in (given | extra).items() if value is not None}


def _check_known(name: str, known: Mapping[str, Check], task: Task, providers: Mapping[str, Abilities]) -> None:
    for provider, abilities in providers.items():
        if abilities.has_own(name) or (name in known and abilities.honours(task, name)):
            continue
        if name in known:
            reason = f"{_quoted(name)} cannot be honoured by provider {provider}; leave it out"
            raise Refused("UNSUPPORTED_MODEL_PARAMETER", reason)
        near = difflib.get_close_matches(name.lower(), known, 1)
        hint = f"perhaps you mean `{near[0]}`" if near else "what only this model knows goes into `extra_params`"
        raise Refused("UNSUPPORTED_MODEL_PARAMETER", f"{_quoted(name)} is no parameter of {task}; {hint}")


def _quoted(name: str) -> str:
    return f"`{shorten(name, 40)}`"


def _json(value: Any) -> str:
    """For messages only: JSON where there is one, Python's text where there is none."""
    if isinstance(value, Decimal):
        return str(value)
    try:
        return orjson.dumps(value, default=_fragment, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        return repr(value)


def _fragment(value: Any) -> orjson.Fragment | dict[Any, Any] | str:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(str(value))
    return dict(value) if isinstance(value, Mapping) else str(value)
