"""Casts of a model's answer to a SQL type, as `from_json` and SQL's CAST do. Compiled once, called per row.

Must never know an engine, an endpoint or a provider.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any

import orjson
import pyarrow as pa

from aiq.errors import FunctionError
from aiq.functions.types import TIMESTAMP, TIMESTAMP_NTZ, UNSUPPORTED_RETURN_TYPE, ddl, shorten

Convert = Callable[[Any], Any]


class Misfit(ValueError):
    """A value does not fit a type. Its text names the place (`$.items[3].price`), the value and the type."""

    def __init__(self, value: Any, reason: str) -> None:
        super().__init__(value, reason)
        self.path, self.value, self.reason = "", value, reason

    def at(self, step: str) -> Misfit:
        self.path = step + self.path
        return self

    def __str__(self) -> str:
        shown = self.value if isinstance(self.value, str) else str(_to_string(self.value))
        return f"${shorten(self.path)}: {shorten(shown)!r} {self.reason}"


class TooManyColumns(Misfit):
    """A model answered several columns where the type has one."""


def converter(t: pa.DataType) -> Convert:
    """A function from a decoded JSON value to the value `pa.array([...], type=t)` takes.

    As `from_json` and CAST do: numbers and numeric text become any numeric type they fit (integers must be
    integral, DECIMAL rounds half up), anything fits STRING (what is no text as compact JSON). Struct fields
    are found by name, in the same case first; missing ones are NULL, unknown ones dropped. DATE and TIMESTAMP
    are read from ISO 8601 text (no zone: UTC), BINARY from base64, BOOLEAN also from 1, 0 and their text. NaN
    and infinity fit FLOAT, DOUBLE and STRING only. None stays None.

    The function raises Misfit, a ValueError, for any other value.
    """
    if pa.types.is_string(t):
        return _to_string
    if pa.types.is_boolean(t):
        return _to_boolean
    if pa.types.is_integer(t):
        return _to_integer(t)
    if pa.types.is_floating(t):
        return _to_float(t)
    if pa.types.is_decimal128(t):
        return _to_decimal(t)
    if pa.types.is_date32(t):
        return _to_date
    if t in (TIMESTAMP, TIMESTAMP_NTZ):
        return _to_timestamp(t)
    if pa.types.is_binary(t):
        return _to_binary
    if pa.types.is_list(t):
        return _to_list(t)
    if pa.types.is_map(t):
        return _to_map(t)
    if pa.types.is_struct(t):
        return _to_struct(t)
    raise FunctionError(UNSUPPORTED_RETURN_TYPE, f"The Arrow type {t} has no SQL type here.")


def text_converter(t: pa.DataType) -> Callable[[str | None], Any]:
    """A function from the text a chat model answered to a value of `t`; it raises Misfit as `converter` does.

    STRING is the text as it is, other scalars are cast from it, ARRAY, MAP and STRUCT are read from JSON,
    with or without a Markdown fence around it. None, a model's empty answer, stays None.
    """
    if pa.types.is_string(t):
        return _identity
    convert = converter(t)
    if not pa.types.is_nested(t):
        return convert
    exact = "DECIMAL" in ddl(t)

    def from_text(text: str | None) -> Any:
        if text is None:
            return None
        body = text.strip()
        if body.startswith("```"):
            body = _FENCE.sub("", body, 1).removesuffix("```")
        return convert(_decoded(body, exact))

    return from_text


def prediction_converter(t: pa.DataType) -> Convert:
    """A function from one element of a custom model's `predictions` to a value of `t`; raises Misfit.

    For types other than STRUCT and MAP an object or (scalars only) a list of one element stands for that
    element; one of several raises TooManyColumns.
    """
    convert = converter(t)
    if pa.types.is_struct(t) or pa.types.is_map(t):
        return convert
    is_list, name = pa.types.is_list(t), ddl(t)

    def from_prediction(value: Any) -> Any:
        if type(value) is list and not is_list:
            if len(value) > 1:
                raise TooManyColumns(value, f"has {len(value)} values, but the type {name} takes one")
            if value:
                value = value[0]
        if type(value) is dict:
            if len(value) > 1:
                raise TooManyColumns(value, f"has {len(value)} columns, but the type {name} takes one")
            if value:
                (value,) = value.values()
        return convert(value)

    return from_prediction


def _identity(text: str | None) -> str | None:
    return text


_FENCE = re.compile(r"```\w*\s*")
_LONG_NUMBER = re.compile(r"\d{19}")
_exact_decoder = json.JSONDecoder(
    parse_float=Decimal, parse_int=lambda digits: int(digits) if len(digits) < 19 else Decimal(digits)
)


def _decoded(text: str, exact: bool) -> Any:
    """The JSON value of `text`. Numbers keep all their digits (as Decimal) if `exact` or if they are long."""
    if not exact and _LONG_NUMBER.search(text) is None:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass  # perhaps NaN, which from_json reads and orjson does not
    try:
        value = _exact_decoder.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False, default=str).encode()
    except (ValueError, InvalidOperation, RecursionError) as e:
        raise Misfit(text, f"is not valid JSON ({e})") from None
    return value


def _json_text(value: Any) -> str:
    try:
        return orjson.dumps(value, default=_decimal_text).decode()
    except TypeError:  # an integer beyond 64 bits, or a structure deeper than orjson goes
        pass
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    except RecursionError:
        raise Misfit("", "is nested too deeply") from None


def _decimal_text(value: Any) -> orjson.Fragment:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(str(value))
    raise TypeError


def _to_string(value: Any) -> Any:
    if type(value) is str or value is None:
        return value
    if type(value) is float and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return _json_text(value)


_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def _to_boolean(value: Any) -> Any:
    if type(value) is bool or value is None:
        return value
    if type(value) in (int, float, Decimal) and value in (0, 1):
        return value == 1
    result = _BOOLEANS.get(value.strip().lower()) if type(value) is str else None
    if result is None:
        raise Misfit(value, "is not a BOOLEAN (true, false, 1 or 0)")
    return result


_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)

_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)


def _number(value: Any, name: str) -> Decimal:
    """The finite number that `value` is or spells, with all its digits."""
    result = None
    if type(value) in (int, Decimal):
        result = Decimal(value)
    elif type(value) is float:
        result = Decimal(repr(value))
    elif type(value) is str and _NUMBER.fullmatch(text := value.strip()):
        with contextlib.suppress(InvalidOperation):  # an exponent beyond all bounds
            result = Decimal(text)
    if result is None or not result.is_finite():
        raise Misfit(value, f"is not a number that fits {name}")
    return result


def _to_integer(t: pa.DataType) -> Convert:
    name, high = ddl(t), 2 ** (t.bit_width - 1) - 1
    low = -high - 1

    def convert(value: Any) -> Any:
        if type(value) is int and low <= value <= high:
            return value
        if value is None:
            return None
        number = _number(value, name)
        # the size is tested first: int(Decimal('1e999999999')) would fill the memory
        if number.adjusted() > 18 or not low <= number <= high:
            raise Misfit(value, f"is out of the range of {name}")
        if number != number.to_integral_value():
            raise Misfit(value, f"is not a whole number, as {name} needs")
        return int(number)

    return convert


def _to_float(t: pa.DataType) -> Convert:
    name, high = ddl(t), 3.4028235677973366e38 if t.bit_width == 32 else math.inf

    def convert(value: Any) -> Any:
        if type(value) is float and (-high < value < high or not math.isfinite(value)):
            return value
        if value is None:
            return None
        if type(value) is str and _NOT_FINITE.fullmatch(value.strip()):
            return float(value)
        try:
            result = float(_number(value, name))
        except OverflowError:
            result = math.inf
        if not -high < result < high:
            raise Misfit(value, f"is out of the range of {name}")
        return result

    return convert


def _to_decimal(t: pa.DataType) -> Convert:
    name, unit, digits = ddl(t), Decimal(1).scaleb(-t.scale), t.precision
    context = Context(prec=digits, rounding=ROUND_HALF_UP)  # quantize fails where the result needs more digits

    def convert(value: Any) -> Any:
        if value is None:
            return None
        try:
            return _number(value, name).quantize(unit, context=context)
        except InvalidOperation:
            raise Misfit(value, f"is out of the range of {name}") from None

    return convert


def _moment(value: Any, name: str) -> datetime:
    try:
        if type(value) is str:
            return datetime.fromisoformat(value.strip())
    except ValueError:
        pass
    raise Misfit(value, f"is not a {name} in ISO 8601 form, such as 2024-05-31{'' if name == 'DATE' else 'T12:00:00'}")


def _to_date(value: Any) -> date | None:
    return None if value is None else _moment(value, "DATE").date()


def _to_timestamp(t: pa.DataType) -> Convert:
    name, has_zone = ddl(t), t.tz is not None

    def convert(value: Any) -> Any:
        if value is None:
            return None
        moment = _moment(value, name)
        if not has_zone:
            return moment.replace(tzinfo=None)  # CAST(... AS TIMESTAMP_NTZ) keeps the wall clock too
        if moment.tzinfo is None:
            return moment.replace(tzinfo=UTC)
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            raise Misfit(value, f"is out of the range of {name}") from None

    return convert


def _to_binary(value: Any) -> bytes | None:
    if value is None:
        return None
    try:
        if type(value) is str:
            return base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        pass
    raise Misfit(value, "is not base64, as BINARY needs")


def _to_list(t: pa.DataType) -> Convert:
    name, item = ddl(t), converter(t.value_type)
    floats = pa.types.is_floating(t.value_type)
    high = 3.4e38 if t.value_type == pa.float32() else math.inf

    def convert(value: Any) -> Any:
        if type(value) is not list:
            if value is None:
                return None
            raise Misfit(value, f"is not a JSON array, as {shorten(name)} needs")
        # an embedding is a thousand plain floats: checked in C, not one by one
        if floats and set(map(type, value)) == {float} and -high < min(value) and max(value) < high:
            return value
        try:
            return [item(x) for x in value]
        except Misfit:
            for i, x in enumerate(value):
                try:
                    item(x)
                except Misfit as e:
                    raise e.at(f"[{i}]") from None
            raise

    return convert


def _to_map(t: pa.DataType) -> Convert:
    name, to_key, to_item = ddl(t), converter(t.key_type), converter(t.item_type)

    def convert(value: Any) -> Any:
        if type(value) is not dict:
            if value is None:
                return None
            raise Misfit(value, f"is not a JSON object, as {shorten(name)} needs")
        result = {}
        for key, x in value.items():
            try:
                result[to_key(key)] = to_item(x)
            except Misfit as e:
                raise e.at(f".{key}") from None
        if len(result) < len(value):
            raise Misfit(value, f"has two keys that are the same as {ddl(t.key_type)}")
        return list(result.items())

    return convert


def _to_struct(t: pa.DataType) -> Convert:
    name, fields = ddl(t), [(f.name, converter(f.type)) for f in t]

    def convert(value: Any) -> Any:
        if type(value) is not dict:
            if value is None:
                return None
            raise Misfit(value, f"is not a JSON object, as {shorten(name)} needs")
        result, folded = {}, None
        field = ""
        try:
            for field, to_field in fields:
                x = value.get(field)
                if x is None and field not in value:
                    if folded is None:
                        folded = {key.lower(): item for key, item in value.items()}
                    x = folded.get(field.lower())
                result[field] = None if x is None else to_field(x)
        except Misfit as e:
            raise e.at(f".{field}") from None
        return result

    return convert
