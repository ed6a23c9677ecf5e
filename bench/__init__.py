"""Measures an archive that it starts itself: see bench/README.md."""
