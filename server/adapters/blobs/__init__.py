"""Blob stores: blobs as files, small blobs packed into segment files, and blobs in memory, with checksums, and the
notes beside the bytes (journal, quarantine, marks, identity of the archive)."""
