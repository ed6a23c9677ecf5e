"""Values about the storage of an archive."""
