"""Queries of the Query/Retrieve Service Class as searches of the core (PS3.4 section C.4.1)."""
