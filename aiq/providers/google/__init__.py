"""Gemini: by its API with a key, and by Vertex AI."""
