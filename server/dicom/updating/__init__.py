"""Changing attributes of stored files: the new values, the bytes to replace, and the description of the new file."""
