"""What commands print and write: tables, files of instances, lists of UIDs."""
