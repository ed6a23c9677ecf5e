"""Implementations of `server.ports`: blob stores, the SQL index, and worker processes."""
