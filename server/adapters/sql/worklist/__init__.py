"""Workitems in SQL."""
