"""Endpoints for the life cycle of stored instances."""
