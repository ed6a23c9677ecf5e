"""Benchmarks of an archive that they start themselves: see bench/README.md."""
