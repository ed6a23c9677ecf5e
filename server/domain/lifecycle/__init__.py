"""Deleting instances, and restoring or erasing deleted ones."""
