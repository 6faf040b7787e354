"""Statements of any engine: settings and hints, call sites, estimates, kept definitions, what calls took before.

Knows SQL texts and the session's home; must never know an engine.
"""
