"""DICOM without I/O: data sets as streams, DICOM JSON, validation, matching rules, pixel data, and rendering."""
