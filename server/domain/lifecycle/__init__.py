"""Deleting instances, restoring or erasing deleted ones, and holds."""
