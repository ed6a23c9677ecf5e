"""The audit trail: recording of calls and of other work, search, and the forms of records on export."""
