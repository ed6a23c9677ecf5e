"""The presentation of an object, derived from its metadata without pixels: windows, colours, size, animation, and the
HTML of a Structured Report (PS3.3 section C.11, PS3.18 section 8.3.5)."""
