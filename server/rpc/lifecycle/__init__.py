"""Services for the life cycle of stored instances."""
