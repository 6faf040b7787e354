"""SQL types of `returnType`: read from DDL, spelled for an engine, and the casts of a model's answer to them.

Follows `from_json` and SQL's CAST. Must never know an engine, an endpoint or a provider.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import difflib
import json
import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any, NoReturn

import orjson
import pyarrow as pa

from aiq.errors import FunctionError

UNSUPPORTED_RETURN_TYPE = "AI_FUNCTION_UNSUPPORTED_RETURN_TYPE"

_TIMESTAMP, _TIMESTAMP_NTZ = pa.timestamp("us", tz="UTC"), pa.timestamp("us")
_SCALARS: dict[str, tuple[pa.DataType, str]] = {  # Databricks' word -> Arrow type, DuckDB's word
    "STRING": (pa.string(), "VARCHAR"),
    "BOOLEAN": (pa.bool_(), "BOOLEAN"),
    "TINYINT": (pa.int8(), "TINYINT"),
    "SMALLINT": (pa.int16(), "SMALLINT"),
    "INT": (pa.int32(), "INTEGER"),
    "BIGINT": (pa.int64(), "BIGINT"),
    "FLOAT": (pa.float32(), "FLOAT"),
    "DOUBLE": (pa.float64(), "DOUBLE"),
    "DATE": (pa.date32(), "DATE"),
    "TIMESTAMP": (_TIMESTAMP, "TIMESTAMPTZ"),
    "TIMESTAMP_NTZ": (_TIMESTAMP_NTZ, "TIMESTAMP"),
    "BINARY": (pa.binary(), "BLOB"),
}
_SYNONYMS = {
    "VARCHAR": "STRING", "TEXT": "STRING", "CHAR": "STRING", "BOOL": "BOOLEAN", "BYTE": "TINYINT",
    "SHORT": "SMALLINT", "INTEGER": "INT", "LONG": "BIGINT", "REAL": "FLOAT", "TIMESTAMP_LTZ": "TIMESTAMP",
    "TIMESTAMPTZ": "TIMESTAMP", "DATETIME": "TIMESTAMP_NTZ", "BLOB": "BINARY", "BYTEA": "BINARY",
    "VARBINARY": "BINARY",
}  # fmt: skip
_DECIMALS = ("DECIMAL", "DEC", "NUMERIC")
_DDL_OF: dict[pa.DataType, str] = {arrow: word for word, (arrow, _) in _SCALARS.items()}
_DUCKDB_OF: dict[pa.DataType, str] = dict(_SCALARS.values())
_HINTS = {"VARIANT": "STRING", "JSON": "STRING", "OBJECT": "STRING", "STR": "STRING", "INT64": "BIGINT"}
_MAX_DEPTH = 64
_TOKEN = re.compile(r"""\s*(?:(`(?:[^`]|``)+`|"(?:[^"]|"")+")|('(?:[^'\\]|''|\\.)*')|(\w+)|([<>()\[\],:]))""")
_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def shorten(text: str, limit: int = 80) -> str:
    """`text`, or its first characters and an ellipsis, `limit` characters in all."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


class _Parser:
    """A cursor over the tokens of one type text: (kind, text), kind one of name, literal, word, sign."""

    def __init__(self, text: str, condition: str) -> None:
        self.text, self.condition = text, condition
        self.tokens: list[tuple[str, str]] = []
        self.at = self.depth = 0
        position, end = 0, len(text.rstrip())
        while position < end:
            match = _TOKEN.match(text, position)
            if match is None:
                self.fail(f"unexpected {shorten(text[position:].strip(), 20)!r}")
            quoted, literal, word, sign = match.groups()
            if quoted:
                self.tokens.append(("name", quoted[1:-1].replace(quoted[0] * 2, quoted[0])))
            else:
                kind = "literal" if literal else "word" if word else "sign"
                self.tokens.append((kind, literal or word or sign))
            position = match.end()

    def fail(self, reason: str) -> NoReturn:
        raise FunctionError(self.condition, f'Unsupported type "{shorten(self.text)}": {reason}.')

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        at = self.at + ahead
        return self.tokens[at] if at < len(self.tokens) else ("end", "")

    def accept(self, *words: str) -> bool:
        """Step over the words or signs if they all come next, in any case."""
        if any(
            kind not in ("word", "sign") or text.upper() != word
            for word, (kind, text) in ((word, self.peek(i)) for i, word in enumerate(words))
        ):
            return False
        self.at += len(words)
        return True

    def expect(self, sign: str, after: str) -> None:
        if not self.accept(sign):
            found = self.peek()[1]
            self.fail(f"expected '{sign}' {after}, found {found!r}" if found else f"'{sign}' is missing {after}")

    def whole(self) -> pa.DataType:
        if not self.tokens:
            self.fail("it is empty; write for example STRING")
        is_column_list = self.peek()[0] in ("word", "name") and (
            self.peek(1)[0] in ("word", "name") or self.peek(1)[1] == ":"
        )
        is_type = not is_column_list or self._starts_with_long_name()
        result = self.type() if is_type else self.fields("")
        if self.at < len(self.tokens):
            self.fail(f"unexpected {self.peek()[1]!r} after the type")
        return result

    def _starts_with_long_name(self) -> bool:
        first, second = self.peek()[1].upper(), self.peek(1)[1].upper()
        return (first, second) == ("DOUBLE", "PRECISION") or (
            first == "TIMESTAMP" and second in ("WITH", "WITHOUT") and self.peek(2)[1].upper() == "TIME"
        )

    def type(self) -> pa.DataType:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            self.fail(f"nested deeper than {_MAX_DEPTH} levels")
        result = self.base()
        levels = self.depth
        while self.accept("["):
            levels += 1
            if levels > _MAX_DEPTH:
                self.fail(f"nested deeper than {_MAX_DEPTH} levels")
            if self.peek()[0] == "word":
                self.fail("arrays have no fixed length here; write T[]")
            self.expect("]", "after '['")
            result = pa.list_(result)
        self.depth -= 1
        return result

    def base(self) -> pa.DataType:
        kind, word = self.peek()
        if kind != "word":
            self.fail(f"a type is expected, found {word!r}" if word else "a type is missing at the end")
        self.at += 1
        upper = word.upper()
        name = _SYNONYMS.get(upper, upper)
        if upper in _DECIMALS:
            return self.decimal()
        if upper in ("ARRAY", "MAP", "STRUCT", "ROW"):
            close = ">" if self.accept("<") else ")" if self.accept("(") else ""
            if not close:
                self.fail(f"{upper} needs its types: {upper}<...>")
            return self.nested(upper, close)
        if name not in _SCALARS:
            self.unknown(word)
        if upper in ("VARCHAR", "CHAR") and self.accept("("):
            self.number()
            self.expect(")", "after the length")
        elif upper == "DOUBLE":
            self.accept("PRECISION")
        elif upper == "TIMESTAMP" and self.accept("WITHOUT", "TIME", "ZONE"):
            return _TIMESTAMP_NTZ
        elif upper == "TIMESTAMP":
            self.accept("WITH", "TIME", "ZONE")
        return _SCALARS[name][0]

    def nested(self, word: str, close: str) -> pa.DataType:
        if word == "ARRAY":
            result = pa.list_(self.type())
        elif word == "MAP":
            key = self.type()
            if pa.types.is_nested(key):
                self.fail("a MAP's key must be a scalar type")
            self.expect(",", "between the key and the value type of MAP")
            result = pa.map_(key, self.type())
        else:
            result = self.fields(close)
        self.expect(close, f"at the end of {word}")
        return result

    def number(self) -> int:
        kind, text = self.peek()
        if kind != "word" or not (text.isascii() and text.isdigit() and len(text) < 10):
            self.fail(f"a whole number is expected, found {text!r}")
        self.at += 1
        return int(text)

    def decimal(self) -> pa.DataType:
        precision, scale = 10, 0  # Databricks' defaults
        if self.accept("("):
            precision = self.number()
            scale = self.number() if self.accept(",") else 0
            self.expect(")", "after DECIMAL's precision and scale")
        if not (1 <= precision <= 38 and scale <= precision):
            self.fail("DECIMAL's precision is 1 to 38 and its scale 0 to the precision")
        return pa.decimal128(precision, scale)

    def fields(self, close: str) -> pa.DataType:
        fields: list[tuple[str, pa.DataType]] = []
        while True:
            kind, name = self.peek()
            if kind not in ("word", "name"):
                self.fail("a field name is expected" + (f", found {name!r}" if name else " at the end"))
            self.at += 1
            self.accept(":")
            fields.append((name, self.type()))
            self.accept("NOT", "NULL")
            if self.accept("COMMENT"):
                self.at += 1
            if not self.accept(","):
                break
        twice = _named_twice(name for name, _ in fields)
        if twice is not None:
            self.fail(f"the field {twice!r} is there twice (upper and lower case are the same)")
        return pa.struct(fields)

    def unknown(self, word: str) -> NoReturn:
        upper = word.upper()
        known = [*_SCALARS, *_SYNONYMS, *_DECIMALS, "ARRAY", "MAP", "STRUCT"]
        bare = upper.removesuffix("TYPE")
        near = difflib.get_close_matches(upper, known, 1)
        hint = _HINTS.get(upper) or (_SYNONYMS.get(bare, bare) if bare in known else near[0] if near else "STRING")
        if upper in ("VOID", "NULL", "INTERVAL", *_HINTS):
            self.fail(f"{upper} is not supported; use a type such as {hint}")
        self.fail(f"{shorten(word, 40)!r} is not a SQL type; did you mean {hint}?")


def parse_type(ddl: str, *, condition: str = UNSUPPORTED_RETURN_TYPE) -> pa.DataType:
    """The Arrow type of a text in Databricks' or DuckDB's spelling, or of a column list (`a STRING, b INT`).

    Where the two differ the text means what it means on Databricks: TIMESTAMP has a time zone (UTC here),
    DECIMAL is DECIMAL(10,0). NOT NULL, COMMENT and a VARCHAR's length are ignored.

    Raises FunctionError with `condition` for anything else, with the type that was probably meant.
    """
    return _Parser(ddl, condition).whole()


def _named_twice(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            return name
        seen.add(name.lower())
    return None


def ddl(t: pa.DataType) -> str:
    """The type in Databricks' spelling. `parse_type(ddl(t)) == t` for every type `parse_type` gives."""
    if (word := _DDL_OF.get(t)) is not None:
        return word
    if pa.types.is_decimal128(t):
        return f"DECIMAL({t.precision},{t.scale})"
    if pa.types.is_list(t):
        return f"ARRAY<{ddl(t.value_type)}>"
    if pa.types.is_map(t):
        return f"MAP<{ddl(t.key_type)}, {ddl(t.item_type)}>"
    if pa.types.is_struct(t):
        return f"STRUCT<{', '.join(f'{_ddl_name(f.name)}: {ddl(f.type)}' for f in t)}>"
    raise FunctionError(UNSUPPORTED_RETURN_TYPE, f"The Arrow type {t} has no SQL type here.")


def _ddl_name(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else "`" + name.replace("`", "``") + "`"


def duckdb_type(t: pa.DataType) -> str:
    """The type as DuckDB's SQL text, with every field name quoted."""
    if (word := _DUCKDB_OF.get(t)) is not None:
        return word
    if pa.types.is_list(t):
        return f"{duckdb_type(t.value_type)}[]"
    if pa.types.is_map(t):
        return f"MAP({duckdb_type(t.key_type)}, {duckdb_type(t.item_type)})"
    if pa.types.is_struct(t):
        quoted = (f'"{f.name.replace(chr(34), chr(34) * 2)}" {duckdb_type(f.type)}' for f in t)
        return f"STRUCT({', '.join(quoted)})"
    return ddl(t)


def infer_type_of_json(sample: str) -> pa.DataType:
    """What Spark's `schema_of_json(sample)` gives: fields sorted by name, null and empty arrays as STRING,
    integers beyond 64 bits as DECIMAL, unlike array elements as STRING, empty objects dropped.

    Raises FunctionError when the sample is no JSON or holds nothing but empty objects.
    """
    try:
        shape = _shape(json.loads(sample))
    except (ValueError, RecursionError) as e:
        raise FunctionError(UNSUPPORTED_RETURN_TYPE, f"schema_of_json({shorten(sample)!r}): {e}.") from None
    result = _type_of(shape)
    if result is None:
        reason = f"schema_of_json({shorten(sample)!r}): there is no field to take a type from."
        raise FunctionError(UNSUPPORTED_RETURN_TYPE, reason)
    return result


def _shape(value: Any) -> Any:
    """A scalar type, {field: shape}, [element shape], or None for null (Spark also takes '' for null)."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        digits = len(str(abs(value)))
        return pa.decimal128(digits, 0) if digits <= 38 else pa.float64()
    if isinstance(value, int | float):
        return pa.int64() if isinstance(value, int) else pa.float64()
    if isinstance(value, list):
        element = None
        for item in value:
            element = _merged(element, _shape(item))
        return [element]
    return {name: _shape(item) for name, item in value.items()} if isinstance(value, dict) else pa.string()


def _merged(a: Any, b: Any) -> Any:
    if a is None or b is None or a == b:
        return b if a is None else a
    if isinstance(a, dict) and isinstance(b, dict):
        return {name: _merged(a.get(name), b.get(name)) for name in {**a, **b}}
    if isinstance(a, list) and isinstance(b, list):
        return [_merged(a[0], b[0])]
    number = {pa.int64(): 20, pa.float64(): 39}  # digits as DECIMAL; more than 38 only fit a DOUBLE
    if all(not isinstance(s, dict | list) and (s in number or pa.types.is_decimal(s)) for s in (a, b)):
        digits = max(number.get(s) or s.precision for s in (a, b))
        return pa.decimal128(digits, 0) if digits <= 38 else pa.float64()
    return pa.string()


def _type_of(shape: Any) -> pa.DataType | None:
    if isinstance(shape, list):
        element = _type_of(shape[0])
        return None if element is None else pa.list_(element)
    if not isinstance(shape, dict):
        return pa.string() if shape is None else shape
    fields = [(name, _type_of(shape[name])) for name in sorted(shape) if name]
    kept = [(name, t) for name, t in fields if t is not None]
    twice = _named_twice(name for name, _ in kept)
    if twice is not None:
        reason = f"schema_of_json: the field {twice!r} is there twice (upper and lower case are the same)."
        raise FunctionError(UNSUPPORTED_RETURN_TYPE, reason)
    return pa.struct(kept) if kept else None


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
    if t in (_TIMESTAMP, _TIMESTAMP_NTZ):
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
