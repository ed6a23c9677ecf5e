"""Child processes: the programs of dicomstore started, watched, restarted and stopped."""
