"""Guardrails: what a request may say and an answer may show. Decides on text; knows no wire format and no socket."""
