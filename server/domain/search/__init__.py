"""Search: parses a request, runs it page by page, and composes the matches (PS3.18 section 10.6)."""
