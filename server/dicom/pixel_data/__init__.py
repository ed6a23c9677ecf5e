"""Frames in native and encapsulated pixel data (PS3.5 section 8 and Annex A), and the attributes that describe them."""
