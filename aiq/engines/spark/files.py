"""How Spark reads the files of a Databricks statement, with the columns that Databricks gives them."""

from __future__ import annotations

import os

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from aiq.sql.notebook.files import METADATA, METADATA_FIELDS, Files, pattern


def frame(spark: SparkSession, files: Files) -> DataFrame:
    """The rows of some files. Raises StatementError where there is no such file."""
    pattern(files)  # which says that there is none as DuckDB does
    reader = spark.read.format(files.format).option("recursiveFileLookup", "true")
    options = dict(files.options)
    schema = options.pop("schema", None)
    if files.pattern is not None:
        reader = reader.option("pathGlobFilter", files.pattern)
    if files.format == "csv":
        reader = reader.option("inferSchema", str(options.pop("inferschema", True) and schema is None)).option(
            "escape", '"'
        )
    for name, value in options.items():
        reader = reader.option(name, value)
    if schema is not None:
        reader = reader.schema(str(schema))
    found = reader.load(files.path)
    if files.metadata:
        found = found.select("*", _metadata(files))
    if files.format == "binaryFile":
        found = found.withColumn("path", _shown(files, F.col("path")))
    if files.rescued:
        found = found.withColumn("_rescued_data", F.lit(None).cast("string"))
    return found


def _metadata(files: Files) -> Column:
    """What is known of a row's file, as a column of its own: Spark's is hidden, and a view would lose it."""
    own = [F.col(f"_metadata.{name}").alias(name) for name in METADATA_FIELDS[1:]]
    path = F.url_decode(F.replace(F.col("_metadata.file_path"), F.lit("+"), F.lit("%2B")))
    return F.struct(_shown(files, path).alias(METADATA_FIELDS[0]), *own).alias(METADATA)


def _shown(files: Files, path: Column) -> Column:
    """The name of a file as Databricks shows it: of a volume with dbfs: before it."""
    local = F.regexp_replace(path, "^file:/*", "/")
    if not files.shown.removeprefix("dbfs:").startswith("/Volumes/"):
        return F.concat(F.lit("file:"), local)
    root = "/" + files.shown.removeprefix("dbfs:").strip("/")
    here = files.path.rstrip("/")
    while any(sign in here for sign in "*?[{"):
        root, here = os.path.dirname(root), os.path.dirname(here)
    return F.concat(F.lit(f"dbfs:{root}"), F.substring(local, len(here) + 1, 1 << 30))
