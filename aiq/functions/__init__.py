"""The SQL functions: signatures, argument checks, return types."""
