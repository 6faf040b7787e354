"""What people say to a session of any engine: definitions of functions and views, and how reading them is spelled out.

Knows SQL texts and the session's home; must never know an engine.
"""
