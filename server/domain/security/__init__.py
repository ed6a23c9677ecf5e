"""Security: credentials of calls, archive tokens, and share links."""
