"""Workitems as items of a Modality Worklist, and performed procedure steps as changes of workitems."""
