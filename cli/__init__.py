"""The `dicomstore` command: a gRPC client of the core, and the supervisor of its programs."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # before grpc is imported: commands print their own messages
