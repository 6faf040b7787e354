"""A column of any scalar type as the text of `CAST(x AS VARCHAR)`. Knows DuckDB's types, and nothing of AI calls.

DuckDB hands its functions Arrow columns, and Arrow prints most types in another way. A small database of our own casts
them back, because the user's connection is in the middle of the query that calls the function.
"""

from __future__ import annotations

import threading

import duckdb
import pyarrow as pa

from aiq.errors import FunctionError

_LEFT_ALONE = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_null,
    pa.types.is_nested,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
)
_BITS = pa.opaque(pa.binary(), "bit", "DuckDB")


def as_text(column: pa.ChunkedArray, sql_type: str = "") -> pa.Array | pa.ChunkedArray:
    """The column as text, NULL where it is NULL; text, BLOB and nested types as they are.

    `sql_type` is DuckDB's name of its type, where it is known: Arrow has none of its own for BIT, UHUGEINT and TIMETZ.
    Times with a time zone print in the zone that the column names, which is the session's. Raises FunctionError for
    what Arrow does not carry whole.
    """
    kind = column.type
    if sql_type == "TIME WITH TIME ZONE" and pa.types.is_time(kind):
        raise FunctionError(
            "AI_FUNCTION_UNSUPPORTED_REQUEST",
            "request is a TIME WITH TIME ZONE, which DuckDB hands over without its zone. Write CAST(... AS VARCHAR).",
        )
    if sql_type == "BIT" and pa.types.is_binary(kind):
        return _casts.text(pa.ExtensionArray.from_storage(_BITS, _one_array(column)))
    if any(is_kind(kind) for is_kind in _LEFT_ALONE):
        return column
    if pa.types.is_dictionary(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column.cast(pa.string())  # an ENUM is a dictionary
    if pa.types.is_decimal128(kind) and kind.scale == 0:
        return _integers(_one_array(column), signed=sql_type != "UHUGEINT")
    return _casts.text(_one_array(column))


class _Casts:
    """Casts by a database of its own, one at a time: DuckDB calls its functions from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._con: duckdb.DuckDBPyConnection | None = None
        self._zone = ""

    def text(self, column: pa.Array) -> pa.Array:
        """Raises FunctionError for a type that DuckDB cannot take back."""
        rows = pa.table({"x": column})
        zone = getattr(column.type, "tz", None)
        with self._lock:
            try:
                con = self._opened()
                if zone is not None and zone != self._zone:
                    con.execute("SET TimeZone = $zone", {"zone": zone})
                    self._zone = zone
                con.register("rows", rows)
                try:
                    texts = con.execute("SELECT CAST(x AS VARCHAR) FROM rows").fetchall()
                finally:
                    con.unregister("rows")
            except duckdb.Error as error:
                self._con = None  # some errors make a database unusable
                raise FunctionError(
                    "AI_FUNCTION_UNSUPPORTED_REQUEST",
                    f"request cannot be made text: {str(error).splitlines()[0]}. Write CAST(... AS VARCHAR).",
                ) from None
        return pa.array([text for (text,) in texts], pa.string())

    def _opened(self) -> duckdb.DuckDBPyConnection:
        if self._con is None:
            # One thread, because rows must keep their order and there are few of them.
            self._con, self._zone = duckdb.connect(config={"threads": 1}), ""
        return self._con


_casts = _Casts()


def _integers(column: pa.Array, *, signed: bool) -> pa.Array:
    """HUGEINT and UHUGEINT, which arrive as decimals of 38 digits and may have more."""
    data = memoryview(column.buffers()[1])
    first = column.offset * 16
    numbers = (
        int.from_bytes(data[start : start + 16], "little", signed=signed)
        for start in range(first, first + 16 * len(column), 16)
    )
    known = column.is_valid().to_pylist()
    return pa.array([str(n) if is_known else None for n, is_known in zip(numbers, known, strict=True)], pa.string())


def _one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
