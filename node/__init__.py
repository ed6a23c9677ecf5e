"""A node: a core and a facade in one process, joined by calls in memory instead of a network."""
