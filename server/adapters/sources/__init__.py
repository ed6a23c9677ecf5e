"""Sources of imports: folders and prefixes of buckets."""
