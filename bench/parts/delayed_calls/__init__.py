"""Delays calls of an object store in a process that is measured; see `sitecustomize`."""
