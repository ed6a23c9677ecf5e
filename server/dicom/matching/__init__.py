"""The attributes of the index, and matching of search values (PS3.4 section C.2.2.2)."""
