"""Several stores that together hold the blobs of an archive. One of them, the primary, is written; the others are read
and erased from (docs/decisions/0065-several-stores.md)."""
