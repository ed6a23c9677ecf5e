"""Extended query tags and their values in SQL."""
