"""Blobs in a bucket of an object store, see `server.ports.blobs`."""
