"""Dashboards: reads Databricks' `.lvdash.json` files, gets their numbers from a session, draws them as HTML."""
