"""Administration: operations, the audit trail, access tokens, the caller, and storage use (docs/api.md)."""
