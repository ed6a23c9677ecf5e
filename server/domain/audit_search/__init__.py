"""Reading of the audit trail: search, observation, verification, and the forms of records on export."""
