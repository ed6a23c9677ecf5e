"""Blobs in files of their own: names, layout of a file, writing, reading, and the store of them."""
