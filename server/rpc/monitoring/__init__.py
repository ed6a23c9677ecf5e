"""Services for the operator of the archive: health, and metrics."""
