"""Records of an archive, stored as files beside its blobs: identity, marks, journal, quarantine, scrub position."""
