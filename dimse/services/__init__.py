"""The DIMSE services, one module each; `registry` lists them."""
