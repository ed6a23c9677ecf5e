"""The core: stores, indexes, searches, retrieves and renders DICOM instances behind the contract `dicomstore.v1`."""
