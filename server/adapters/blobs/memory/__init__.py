"""Storage in memory of one process, for tests."""
