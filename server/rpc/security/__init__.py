"""Services that administer access."""
