"""Payload bytes on their way between a disk or a socket and the other side."""

Buffer = bytes | memoryview
"""A run of bytes, or a view of those that were read or received. Whoever has it never changes it."""
