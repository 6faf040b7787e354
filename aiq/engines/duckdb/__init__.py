"""DuckDB: how its statements are read, run in passes and counted, on a connection of the user's."""
