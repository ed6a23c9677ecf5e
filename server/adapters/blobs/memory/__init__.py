"""Storage in memory, for tests. It holds everything, survives nothing, and belongs to one process."""
