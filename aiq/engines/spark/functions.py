"""`ai_query` as a function of PySpark columns, and `enrich` for data frames. Runs on the driver.

Both read ahead over all Arrow batches of a task, and have the types that their arguments give.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import arrow_udf
from pyspark.sql.types import DataType

from aiq.engines.spark.ask import ask
from aiq.engines.spark.builder import REQUEST_OF_COLUMN
from aiq.engines.spark.job import ANSWER, FILES, REQUEST, Job, Origin, answer_type
from aiq.engines.spark.keys import KEY, distinct, key_of, plain
from aiq.engines.spark.register import knows_requests, registration
from aiq.errors import StatementError
from aiq.functions.call_site import Options
from aiq.functions.types import ddl
from aiq.gateway import Gateway
from aiq.statements.sites import options_of, with_return_type


def ai_query(
    endpoint: str,
    request: Column | str,
    return_type: str | DataType | None = None,
    *,
    fail_on_error: bool = True,
    model_parameters: Mapping[str, Any] | None = None,
    response_format: str | None = None,
    files: Column | str | None = None,
    spark: SparkSession | None = None,
) -> Column:
    """The answer to each row's `request` (a column or its name): Databricks' PySpark function, and its SQL arguments.

    The column has the type of `return_type` (DDL or a DataType); with `fail_on_error` False it is a struct of that and
    `errorMessage`. `spark` defaults to the active session, which is registered with `aiq.register` or, without that,
    with the defaults of `aiq.connect`. Raises StatementError and FunctionError for wrong arguments; no call is made.
    """
    session = _session(spark)
    gateway, origin = registration(session)
    job, kind = _job(
        gateway, origin, "", endpoint, _options(return_type, fail_on_error, model_parameters, response_format)
    )
    if knows_requests(session):
        request = F.call_function(REQUEST_OF_COLUMN, request if isinstance(request, Column) else F.col(request))
    columns = [request] if files is None else [request, files]
    function = _one(job) if files is None else _two(job)
    vectorized: Any = arrow_udf
    return vectorized(function, kind)(*columns)  # type: ignore[no-any-return]


def enrich(
    df: DataFrame,
    column: str,
    endpoint: str,
    prompt: Column | str,
    *,
    return_type: str | DataType | None = None,
    fail_on_error: bool = True,
    model_parameters: Mapping[str, Any] | None = None,
    response_format: str | None = None,
) -> DataFrame:
    """`df` with a further `column`: the answer to each row's `prompt` (a column or its name), NULL where that is NULL.

    Distinct prompts are shuffled, asked once, and joined back. The frame is lazy; its answers are paid once however
    often it is evaluated, until the application ends. Arguments and errors as in `ai_query`.
    """
    gateway, origin = registration(df.sparkSession)
    options = _options(return_type, fail_on_error, model_parameters, response_format)
    name = f"{origin.application}/enrich-{uuid.uuid4()}"
    job, kind = _job(gateway, origin, name, endpoint, options)
    if column in df.columns:
        raise StatementError(f"the frame has a column {column!r} already; drop it, or give the answers another name")
    request, key = (f"__aiq_{uuid.uuid4().hex[:12]}" for _ in range(2))
    rows = df.withColumn(request, prompt if isinstance(prompt, Column) else F.col(prompt))
    argument = plain(F.col(request), rows.schema[request].dataType)
    rows = rows.withColumn(key, key_of({REQUEST: argument}))
    asked = rows.select(F.col(key).alias(KEY), argument[0].alias(REQUEST)).where(F.col(KEY).isNotNull())
    # A key belongs to one task, and there are as many tasks as can run: what one costs is the slowest of its answers.
    requests = distinct(asked.repartition(_tasks(df.sparkSession, origin), KEY))

    def answered(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        return ask(iter(batches), job)

    answers = requests.mapInArrow(answered, f"{KEY} BINARY, {ANSWER} {kind}")
    joined = rows.join(answers.select(F.col(KEY).alias(key), F.col(ANSWER).alias(column)), on=key, how="left")
    return joined.select(*[joined[name] for name in df.columns], joined[column])


def _one(job: Job) -> Any:
    def ai_query(requests: Iterator[pa.Array]) -> Iterator[pa.Array]:
        batches = (pa.RecordBatch.from_arrays([request], names=[REQUEST]) for request in requests)
        return (batch.column(ANSWER) for batch in ask(batches, job))

    return ai_query


def _two(job: Job) -> Any:
    def ai_query(rows: Iterator[tuple[pa.Array, pa.Array]]) -> Iterator[pa.Array]:
        batches = (pa.RecordBatch.from_arrays(list(row), names=[REQUEST, FILES]) for row in rows)
        return (batch.column(ANSWER) for batch in ask(batches, job))

    return ai_query


def _session(spark: SparkSession | None) -> SparkSession:
    found = spark or SparkSession.getActiveSession()
    if found is None:
        raise StatementError("there is no active SparkSession; create one first, or give it as spark=")
    return found


def _options(
    return_type: str | DataType | None,
    fail_on_error: bool,
    model_parameters: Mapping[str, Any] | None,
    response_format: str | None,
) -> Options:
    return options_of(
        {
            "returnType": return_type.simpleString() if isinstance(return_type, DataType) else return_type,
            "failOnError": fail_on_error,
            "modelParameters": dict(model_parameters) if isinstance(model_parameters, Mapping) else model_parameters,
            "responseFormat": response_format,
        }
    )


def _job(gateway: Gateway, origin: Origin, statement: str, endpoint: str, options: Options) -> tuple[Job, str]:
    """The job, and the type of its answers in Spark's words."""
    gateway.refresh()
    error_field = gateway.config.settings.error_field
    options = with_return_type(options, gateway.endpoint(endpoint), gateway)
    kind = answer_type(gateway, endpoint, options, error_field=error_field)
    return Job(origin, statement, endpoint, options, error_field), ddl(kind)


def _tasks(spark: SparkSession, origin: Origin) -> int:
    return origin.slots if origin.slots > 1 else int(spark.conf.get("spark.sql.shuffle.partitions") or 200)
