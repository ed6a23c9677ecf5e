"""Parsing of requests: resource, query, range, and acceptable media types and transfer syntaxes."""
