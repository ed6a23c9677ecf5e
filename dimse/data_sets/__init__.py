"""Data sets of DIMSE messages: between their encoded form (PS3.5) and the DICOM JSON model (PS3.18 Annex F)."""
