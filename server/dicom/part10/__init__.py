"""Incremental parsing of Part 10 files, and its outputs: DICOM JSON and re-encoded data sets (PS3.10, PS3.5 section
7)."""
