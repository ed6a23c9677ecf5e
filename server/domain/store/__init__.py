"""Store: receives instances, writes their bytes durably, and commits them to the index."""
