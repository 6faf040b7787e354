"""Functions and views that a home keeps: read, defined, put into the statements that use them. Knows no engine."""
