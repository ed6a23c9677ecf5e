"""`dicomstore dimse`: the DIMSE gateway, and transfers that it performs."""
