"""Configuration: read, validated, never secret in a repr."""
