"""Retrieval: the instances that a C-MOVE or C-GET requests, and their transfer in C-STORE sub-operations."""
