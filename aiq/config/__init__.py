"""Configuration: read, validated, never secret in a repr. Pydantic lives here and nowhere else."""
