"""Worker processes, which decode, encode and render pixels outside the process that serves calls."""
