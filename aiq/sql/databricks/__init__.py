"""Databricks' SQL on DuckDB: what has an exact counterpart is translated, everything else is refused by name."""
