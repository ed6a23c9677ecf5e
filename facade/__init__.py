"""The DICOMweb facade: HTTP requests to calls of `dicomstore.v1`, and their answers to HTTP responses (PS3.18)."""
