"""The transactions that add, delete and relocate instances and record damage."""
