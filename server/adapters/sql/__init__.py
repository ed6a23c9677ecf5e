"""The index in SQLite or PostgreSQL: one class for each port, each call one transaction."""
