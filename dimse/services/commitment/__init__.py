"""Storage commitment, push model (PS3.4 Annex J)."""
