"""Maintenance: garbage collection, relocation of blobs, scrubbing, audit, and recovery of a lost index."""
