"""Reads SQL: finds AI calls, translates dialects."""
