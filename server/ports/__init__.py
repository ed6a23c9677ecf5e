"""What the domain needs from storage, databases and workers, as protocols."""
