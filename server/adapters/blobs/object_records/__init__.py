"""Records of an archive on an object store: leases of processes, locks, identity, marks, journal, scrub position,
audit trail."""
