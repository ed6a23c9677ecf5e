"""Response bodies and headers: multipart, ZIP, DICOM JSON and XML, validators, content coding, streaming."""
