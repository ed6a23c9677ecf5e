"""Labels and storage commitments in SQL."""
