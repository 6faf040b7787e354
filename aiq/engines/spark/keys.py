"""The key of a request: 128 bits that Spark itself computes, the same on both sides of a join.

Knows Spark's columns; must never know a provider.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from aiq.engines.spark.job import FILES, REQUEST

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType

KEY = "key"
_EXACT = {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX", "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS"}
"""JSON with all digits of a time, so that requests that differ have different keys."""


def plain(column: Column, kind: DataType) -> tuple[Column, DataType]:
    """An argument of a call with text of any kind as plain STRING.

    Else a collation would make one request of two, and VARCHAR beside STRING two requests of one.
    """
    from pyspark.sql.types import CharType, StringType, VarcharType

    if isinstance(kind, StringType | CharType | VarcharType) and kind != StringType():
        return column.cast("string"), StringType()
    return column, kind


def distinct(requests: DataFrame) -> DataFrame:
    """Each request once. Spark compares no maps, but keys; where it can, comparing both is the quicker way."""
    return requests.dropDuplicates([KEY]) if "map<" in dict(requests.dtypes)[REQUEST] else requests.distinct()


def key_of(arguments: Mapping[str, tuple[Column, DataType]]) -> Column:
    """The key of a request, and its files if it has any, given `plain` with their types; NULL for a NULL request."""
    from pyspark.sql import functions as f

    key = _digest(*arguments[REQUEST])
    if FILES in arguments:
        key = f.sha2(f.concat(f.lit("files "), key, _digests(*arguments[FILES])).cast("binary"), 256)
    return f.unhex(f.substring(key, 1, 32))


def row_key(columns: Sequence[tuple[str, str]]) -> str:
    """The key of some columns of a row, as SQL, of their names and the names of their types.

    Alike only where all of them are: text goes as bytes, because a collation makes one text of two.
    """
    plain = [f"CAST({name} AS BINARY)" if kind == "string" else name for name, kind in columns]
    fields = ", ".join(f"'c{i}', {column}" for i, column in enumerate(plain or ["0"]))
    exact = ", ".join(f"'{name}', '{value.replace(chr(39), chr(92) + chr(39))}'" for name, value in _EXACT.items())
    return f"unhex(substring(sha2(CAST(to_json(named_struct({fields}), map({exact})) AS BINARY), 256), 1, 32))"


def _digest(column: Column, kind: DataType) -> Column:
    """The digest of a request and of what it is, so that no text is taken for the JSON of a struct."""
    from pyspark.sql import functions as f
    from pyspark.sql.types import BinaryType, StringType

    if isinstance(kind, StringType):
        tag, content = "text ", column
    elif isinstance(kind, BinaryType):
        tag, content = "bytes ", column
    else:
        tag, content = "json ", f.when(column.isNotNull(), f.to_json(f.struct(column.alias("r")), _EXACT))
    return f.sha2(f.concat(f.lit(tag.encode()), content.cast("binary")), 256)


def _digests(column: Column, kind: DataType) -> Column:
    """The digest of each file, in order; no file and NULL are the same."""
    from pyspark.sql import functions as f
    from pyspark.sql.types import ArrayType, BinaryType

    if isinstance(kind, BinaryType):
        return f.coalesce(f.sha2(column, 256), f.lit(""))
    if isinstance(kind, ArrayType) and isinstance(kind.elementType, BinaryType):
        return f.coalesce(f.concat_ws("", f.transform(column, lambda file: f.sha2(file, 256))), f.lit(""))
    return f.lit("")
