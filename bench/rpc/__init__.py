"""Measurements over gRPC, with ghz."""
