"""Ports of the worklist."""
