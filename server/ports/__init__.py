"""Ports: the protocols that adapters for storage, databases and workers implement for the domain."""
