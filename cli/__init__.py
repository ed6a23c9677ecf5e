"""The `dicomstore` command: a gRPC client of the core, and the supervisor of its programs."""
