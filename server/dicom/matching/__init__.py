"""Attributes of the index, and the rules by which search values match them (PS3.4 section C.2.2.2)."""
