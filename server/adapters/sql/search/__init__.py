"""Search in SQL: conditions, pages of matches, text search with trigrams, and counts."""
