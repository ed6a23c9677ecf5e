"""Bounded memory: budgets for uploads and responses, and prefetch in order."""
