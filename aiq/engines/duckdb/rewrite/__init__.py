"""Reads a DuckDB statement and rewrites it, so that its calls are asked once, together, and only where needed."""
