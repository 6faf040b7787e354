"""CAST of Databricks' SQL: which macro makes a value of a type, as Spark does with ANSI mode on."""

from __future__ import annotations

from sqlglot import exp

from aiq.errors import StatementError
from aiq.sql.databricks.macros import SCHEMA
from aiq.sql.databricks.words import message, tried

_T = exp.DType
_MACROS = {
    _T.TEXT: "text", _T.VARCHAR: "text", _T.BOOLEAN: "to_boolean", _T.TINYINT: "to_tinyint",
    _T.SMALLINT: "to_smallint", _T.INT: "to_int", _T.BIGINT: "to_bigint", _T.FLOAT: "to_float",
    _T.DOUBLE: "to_double", _T.DATE: "as_date", _T.TIMESTAMP: "cast_timestamp", _T.TIMESTAMPTZ: "cast_timestamp",
    _T.TIMESTAMPLTZ: "cast_timestamp", _T.TIMESTAMPNTZ: "timestamp_ntz",
}  # fmt: skip
_NAMES = {
    _T.TEXT: "VARCHAR", _T.BOOLEAN: "BOOLEAN", _T.TINYINT: "TINYINT", _T.SMALLINT: "SMALLINT", _T.INT: "INTEGER",
    _T.BIGINT: "BIGINT", _T.FLOAT: "FLOAT", _T.DOUBLE: "DOUBLE", _T.DATE: "DATE", _T.TIMESTAMPTZ: "TIMESTAMPTZ",
    _T.TIMESTAMP: "TIMESTAMPTZ", _T.TIMESTAMPLTZ: "TIMESTAMPTZ", _T.TIMESTAMPNTZ: "TIMESTAMP",
}  # fmt: skip
MOMENTS = {kind: name for kind, name in _NAMES.items() if name in ("DATE", "TIMESTAMPTZ", "TIMESTAMP")}
_INTEGERS = (_T.TINYINT, _T.SMALLINT, _T.INT, _T.BIGINT)
CASTS = {
    "string": "STRING", "int": "INT", "bigint": "BIGINT", "double": "DOUBLE", "boolean": "BOOLEAN",
    "timestamp": "TIMESTAMP", "float": "FLOAT", "smallint": "SMALLINT", "tinyint": "TINYINT", "binary": "BINARY",
    "decimal": "DECIMAL(10,0)",
}  # fmt: skip
"""Functions that cast: by name, the type."""


def cast(value: str, kind: exp.DataType, *, safe: bool = False, apart: bool = False) -> str:
    """A value of a type. `safe`: NULL where it has none, and with `apart` only where the value itself is no error.

    Raises StatementError for types without a counterpart.
    """
    if safe:
        return tried(lambda each: cast(each, kind), value, apart=apart)
    name = kind.this
    if name in (_T.VARCHAR,) and kind.expressions:
        raise _refusal(kind)
    if value == "NULL" and name in _NAMES:
        return f"CAST(NULL AS {_NAMES[name]})"
    if name in _MACROS:
        said = ", " + message("CAST to " + kind.sql("databricks")) if name in _INTEGERS else ""
        made = f"{SCHEMA}.{_MACROS[name]}({value}{said})"
    elif name == _T.DECIMAL:
        digits = ", ".join(each.name for each in kind.expressions) or "10, 0"
        made = f"CAST({SCHEMA}.decimal_text({value}) AS DECIMAL({digits}))"
    elif name == _T.BINARY:
        made = f"{SCHEMA}.to_binary({value})"
    elif name in (_T.ARRAY, _T.LIST) and len(kind.expressions) == 1:
        inner = kind.expressions[0]
        if not isinstance(inner, exp.DataType):
            raise _refusal(kind)
        made = f"list_transform({value}, lambda aiq_e: {cast('aiq_e', inner)})"
    else:
        raise _refusal(kind)
    return made


def _refusal(kind: exp.DataType) -> StatementError:
    return StatementError(
        f"the statement cannot be translated from Databricks SQL: CAST to {kind.sql('databricks')} has no exact "
        "counterpart on DuckDB; write that part in DuckDB's SQL, or run the statement on Spark"
    )
