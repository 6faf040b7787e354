"""The key of a request: 128 bits that Spark itself computes, the same on both sides of a join.

Knows Spark's columns; must never know a provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from aiq.engines.spark.job import FILES, REQUEST

if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql.types import DataType

KEY = "key"
_EXACT = {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX", "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS"}
"""JSON with all digits of a time, so that requests that differ have different keys."""


def key_of(arguments: Mapping[str, tuple[Column, DataType]]) -> Column:
    """The key of a request, and its files if it has any, given with their types; NULL for a NULL request."""
    from pyspark.sql import functions as f

    request = _bytes(*arguments[REQUEST])
    if FILES in arguments:
        request = f.concat(f.sha2(request, 256), _digests(*arguments[FILES])).cast("binary")
    return f.unhex(f.substring(f.sha2(request, 256), 1, 32))


def _bytes(column: Column, kind: DataType) -> Column:
    from pyspark.sql import functions as f
    from pyspark.sql.types import BinaryType, CharType, StringType, VarcharType

    if isinstance(kind, StringType | CharType | VarcharType | BinaryType):
        return column.cast("binary")
    text = f.to_json(f.struct(column.alias("r")), _EXACT)
    return f.when(column.isNotNull(), text).cast("binary")


def _digests(column: Column, kind: DataType) -> Column:
    """The digest of each file, in order; no file and NULL are the same."""
    from pyspark.sql import functions as f
    from pyspark.sql.types import ArrayType, BinaryType

    if isinstance(kind, BinaryType):
        return f.coalesce(f.sha2(column, 256), f.lit(""))
    if isinstance(kind, ArrayType) and isinstance(kind.elementType, BinaryType):
        return f.coalesce(f.concat_ws("", f.transform(column, lambda file: f.sha2(file, 256))), f.lit(""))
    return f.lit("")
