"""How an engine hands rows over and takes answers back."""
