"""Values of the audit trail, and what calls contribute to it."""
