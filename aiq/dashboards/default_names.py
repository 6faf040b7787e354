"""The catalog and schema of a dataset, in which its query's tables lie where the query does not say."""

from __future__ import annotations

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import traverse_scope

from aiq.dashboards.model import Dataset
from aiq.errors import AiqError
from aiq.sql import calls

_OF_FILES = {"csv", "json", "parquet", "orc", "avro", "text", "binaryfile", "delta", "iceberg"}
"""What stands before the path of a file as a schema does: text.`/data/a.txt`."""


def with_full_names(text: str, dataset: Dataset) -> str:
    """A dataset's query with the full names of its tables: with catalog `c` and schema `s`, `SELECT * FROM t` becomes
    ``SELECT * FROM `c`.`s`.t``.

    Names that IDENTIFIER gives stay as they are. Raises AiqError for a text that cannot be read.
    """
    if not dataset.catalog and not dataset.schema:
        return text
    try:
        tree = sqlglot.parse_one(text, read="databricks")
        tables = [
            source
            for scope in traverse_scope(tree)
            for source in scope.sources.values()
            if isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier)
        ]
    except SqlglotError as error:
        words = str(error).splitlines()[0]
        raise AiqError(f"the dataset {dataset.title} cannot be read as Databricks SQL: {words}") from None
    places: dict[int, str] = {}
    for table in tables:
        parts = table.parts
        if len(parts) > 2 or (len(parts) == 2 and (not dataset.catalog or parts[0].name.lower() in _OF_FILES)):
            continue
        before = [dataset.schema or "default"] if len(parts) == 1 else []
        before = [*([dataset.catalog] if dataset.catalog else []), *before]
        places[parts[0].meta["start"]] = "".join(f"`{name.replace('`', '``')}`." for name in before)
    return calls.replace(text, [(start, start, prefix) for start, prefix in places.items()])
