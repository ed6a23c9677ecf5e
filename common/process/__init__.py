"""What programs do with their own process: memory, modes of new files, messages to the service manager."""
