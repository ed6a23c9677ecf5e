"""`dicomstore store`: files found, sent in several streams, and the result of each."""
