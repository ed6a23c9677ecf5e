"""Values of the worklist."""
