"""AI21's chat."""
