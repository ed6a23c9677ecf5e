"""Security: roles and archive tokens."""
