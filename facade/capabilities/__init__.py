"""Retrieve Capabilities (PS3.18 section 8.9): a machine-readable description of the resources, from the routes."""
