"""Recording in the audit trail. `server.domain.audit_search` reads it."""
