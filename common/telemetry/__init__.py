"""Metrics of the processes of a node, and how they are exchanged on a machine."""
