"""Imports: storing the files of a folder or a bucket, once or continuously, and adopting files where they are."""
