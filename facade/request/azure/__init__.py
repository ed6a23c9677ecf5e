"""Headers of Azure's DICOM service that have no counterpart in the standard."""
