"""What a statement returned: a DuckDB relation over finished rows, so that reading it again costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    import pandas
    import pyarrow as pa


class Result:
    """Rows of a finished statement. Everything a `duckdb.DuckDBPyRelation` can do, it can do too.

    The rows live in a temporary table of the connection as long as this object, or one derived from it, lives.
    """

    def __init__(self, relation: duckdb.DuckDBPyRelation, owner: object = None) -> None:
        self.relation = relation
        self._owner = owner

    def df(self) -> pandas.DataFrame:
        """The rows as a pandas DataFrame (needs pandas)."""
        return self.relation.df()

    def arrow(self) -> pa.Table:
        """The rows as a `pyarrow.Table`."""
        return self.relation.to_arrow_table()

    def fetchall(self) -> list[Any]:
        """The rows as tuples."""
        return self.relation.fetchall()

    def show(self, **options: Any) -> None:
        """Prints the first rows."""
        self.relation.show(**options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self.relation, name)
        return self._derive(found) if callable(found) else found

    def _derive(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            made = method(*args, **options)
            return Result(made, self) if isinstance(made, duckdb.DuckDBPyRelation) else made

        return call

    def __len__(self) -> int:
        return len(self.relation)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.arrow().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return repr(self.relation)

    def __str__(self) -> str:
        return str(self.relation)
