"""Associations with application entities (PS3.8): connections, negotiation, identity, limits and messages (PS3.7)."""
