"""Values of the life cycle of stored instances."""
