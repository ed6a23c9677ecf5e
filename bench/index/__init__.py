"""Measurements of the index alone: its growth, its searches, and re-indexing."""
