"""Decides on a request: limits, routing, retry, concurrency. Knows no provider's wire format."""
