"""Services of the worklist."""
