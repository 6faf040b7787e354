"""`ai_query` as a plain Spark function: in `spark.sql`, views, `expr`, SQL files and Spark Connect (there STRING).

Spark lets named arguments only through to functions of one batch at a time, so this one waits for each Arrow batch;
`session.sql`, `aiq.functions.ai_query` and `aiq.enrich` do not. Evaluating a row again costs nothing: all tasks of a
statement share its answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import orjson
import pyarrow as pa

from aiq.engines.spark.job import Origin
from aiq.engines.spark.statement import ended, part_of
from aiq.engines.spark.worker import opened
from aiq.errors import StatementError
from aiq.functions.call_site import CallSite
from aiq.functions.signature import FUNCTION, bind
from aiq.functions.types import ddl
from aiq.statements.sites import PlainSites


def _check_returns_text(site: CallSite) -> None:
    answer = site.type if site.fail_on_error else site.type.field(0).type
    if not pa.types.is_string(answer):
        raise StatementError(
            f"in plain spark.sql {FUNCTION} returns STRING, but this call returns {ddl(site.type)}. Run the statement "
            f"with session.sql: aiq.connect(spark).sql('SELECT ...'), or use aiq.functions.{FUNCTION} on a DataFrame."
        )


_texts, _typed = PlainSites(_check_returns_text), PlainSites(lambda site: None)


def plain_function(origin: Origin, kind: pa.DataType | None = None, text: str = "") -> Callable[..., pa.Array]:
    """The function that Spark sends to its workers: Arrow arrays in, an array of STRING out.

    With a `kind`, the type that a call has by its arguments, an array of that. `text` is the statement's, if known.
    """

    def ai_query(*arguments: pa.Array, **named: pa.Array) -> pa.Array:
        return evaluate(origin, arguments, named, kind, text)

    return ai_query


def evaluate(
    origin: Origin,
    arguments: Sequence[pa.Array],
    named: Mapping[str, pa.Array],
    kind: pa.DataType | None = None,
    text: str = "",
) -> pa.Array:
    """The answers to one Arrow batch. Raises as `Statement.ask` does, and FunctionError for wrong arguments."""
    columns = bind([*((None, column) for column in arguments), *named.items()])
    if not len(columns["endpoint"]):
        return pa.array([], kind or pa.string())
    gateway = opened(origin)
    site = (_texts if kind is None else _typed).of(gateway, columns)
    statement = part_of(gateway, origin, text=text)
    with ended(statement):
        answers = site.evaluate(statement, columns["request"], columns.get("files"))
        if kind is None:
            return _as_text(site, answers)
        # A statement may read the fields of failOnError => false by other names.
        return answers if answers.type == kind else _named(answers, kind)


def _named(answers: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    rows = answers.combine_chunks() if isinstance(answers, pa.ChunkedArray) else answers
    return pa.StructArray.from_arrays(
        [rows.field(i) for i in range(kind.num_fields)], fields=list(kind), mask=rows.is_null()
    )


def _as_text(site: CallSite, answers: pa.Array) -> pa.Array:
    """With failOnError => false each answer is the JSON of the struct that it is elsewhere."""
    if site.fail_on_error:
        return answers
    return pa.array([None if row is None else orjson.dumps(row).decode() for row in answers.to_pylist()], pa.string())
