"""Benchmarks of single parts of the archive: audit trail, authentication, updates, imports, object stores."""
