"""Storage of blobs and of the records beside them, selected by a URL in `factory`: below a directory of a local
filesystem, where small blobs are packed into segment files (README.md has the format), or in memory for tests."""
