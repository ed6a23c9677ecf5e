"""The index in SQLite or PostgreSQL: one class per port; each call is one transaction."""
