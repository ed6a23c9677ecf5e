"""The `dicomstore` command for people: a gRPC client of the core, and the one who starts both programs."""
