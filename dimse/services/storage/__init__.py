"""C-STORE: storing of instances (PS3.4 Annex B)."""
