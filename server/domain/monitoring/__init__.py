"""Metrics of the archive and of the processes of this node."""
