"""Sending events over HTTP: CloudEvents, signatures, and the choice of addresses to connect to."""
