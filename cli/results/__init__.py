"""Output of commands: tables, files of instances, lists of UIDs."""
