"""The engines: how each reads a statement, runs it, counts it, hands rows over and takes answers back."""
