"""File-sets of the media storage model (PS3.10 section 8, PS3.3 Annex F)."""
