"""Identity providers: their metadata and keys, and the verification of their access tokens."""
