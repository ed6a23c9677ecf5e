"""One file for each command, or for a few that differ in a word."""
