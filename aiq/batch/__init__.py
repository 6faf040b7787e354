"""Many rows: deduplicated, enough in flight, stoppable."""
