"""Segment files: small blobs one after another in one file, appended, read, and examined for unused space."""
