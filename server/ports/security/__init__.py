"""Ports of access control: tokens, links and identity providers."""
