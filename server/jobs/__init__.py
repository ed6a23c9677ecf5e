"""The durable engine that runs operations."""
