"""Blobs in a bucket of an object store: S3, Azure Blob Storage or Google Cloud Storage."""
