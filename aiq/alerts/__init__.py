"""Alerts in Databricks' own files: a query, a condition on its result, and who is told when it holds."""
