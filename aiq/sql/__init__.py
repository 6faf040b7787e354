"""What both engines read alike: SQL texts and their dialects. Knows no engine."""
