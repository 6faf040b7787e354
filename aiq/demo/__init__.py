"""`aiq demo`: real text from this machine through ai_query, then what it cost, from the Delta tables."""
