"""Retrieve: instances, metadata, frames and bulk data, stored or in another transfer syntax (PS3.18 section 10.4)."""
