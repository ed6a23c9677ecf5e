"""Records of an archive that lie as files beside its blobs: identity, marks, journal, quarantine, scrub position."""
