"""Blobs in separate files: file names, file layout, writing, reading, and the store."""
