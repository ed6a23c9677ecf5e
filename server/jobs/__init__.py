"""Long work that survives its process: a durable engine, and what it does."""
