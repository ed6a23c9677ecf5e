"""Limits on the addresses to which this program connects for its clients."""
