"""A small model and an embedder on this machine: where they are, the process that runs them, how it starts and ends."""
