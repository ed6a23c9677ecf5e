"""Payload bytes in transfer between a disk or a socket and a client."""

Buffer = bytes | memoryview
"""Bytes, or a view of the bytes that were read or received. Its holder must not change it."""
