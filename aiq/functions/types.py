"""SQL types of `returnType`: read from DDL, spelled for Databricks and DuckDB.

Must never know an engine, an endpoint or a provider.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any, NoReturn

import pyarrow as pa

from aiq.errors import FunctionError

UNSUPPORTED_RETURN_TYPE = "AI_FUNCTION_UNSUPPORTED_RETURN_TYPE"

TIMESTAMP, TIMESTAMP_NTZ = pa.timestamp("us", tz="UTC"), pa.timestamp("us")
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
    "TIMESTAMP": (TIMESTAMP, "TIMESTAMPTZ"),
    "TIMESTAMP_NTZ": (TIMESTAMP_NTZ, "TIMESTAMP"),
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


class _TypeParser:
    """A cursor over the tokens of one type text: (kind, text), kind one of name, literal, word, sign.

    sqlglot's reader is no substitute: of 152 types in the tests it reads 41 otherwise or not at all in Databricks'
    dialect (column lists, DuckDB's quotes), and it takes `ARRAY<INT`, `STRUCT<>` and a field that is there twice.
    """

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

    def parse(self) -> pa.DataType:
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
            return TIMESTAMP_NTZ
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
        self.fail(f"{shorten(word, 40)!r} is not a SQL type; perhaps you mean {hint}")


def parse_type(ddl: str, *, condition: str = UNSUPPORTED_RETURN_TYPE) -> pa.DataType:
    """The Arrow type of a text in Databricks' or DuckDB's spelling, or of a column list (`a STRING, b INT`).

    Where the two differ the text means what it means on Databricks: TIMESTAMP has a time zone (UTC here),
    DECIMAL is DECIMAL(10,0). NOT NULL, COMMENT and a VARCHAR's length are ignored.

    Raises FunctionError with `condition` for anything else, with the type that was probably meant.
    """
    return _TypeParser(ddl, condition).parse()


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
