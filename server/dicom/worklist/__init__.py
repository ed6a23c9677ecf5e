"""Workitems as data sets: requirements of their attributes, validation, and search keys (PS3.4 Annex CC)."""
