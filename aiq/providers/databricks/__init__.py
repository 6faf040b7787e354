"""Endpoints of another Databricks workspace."""
