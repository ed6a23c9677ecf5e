"""Elements and their values: value representations, character sets, transfer syntaxes, and DICOM JSON (PS3.5, PS3.18
Annex F)."""
