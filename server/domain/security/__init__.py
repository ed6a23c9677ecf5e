"""Security: credentials of calls, and archive tokens."""
