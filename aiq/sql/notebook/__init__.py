"""What a Databricks notebook writes into a statement: magics, widgets, catalogs, volumes, variables, fields."""
