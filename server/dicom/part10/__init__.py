"""Part 10 files as streams of bytes: the incremental parser, and its subclasses that produce DICOM JSON or another
encoding (PS3.10, PS3.5 section 7)."""
