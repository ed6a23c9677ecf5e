"""What events need from the database."""
