"""A parsed search: the query, its date and time ranges, query tags, and return keys."""
