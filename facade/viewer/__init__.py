"""A built web viewer (OHIF) below `/viewer/`: its files, its settings, and redirects of its former addresses."""
