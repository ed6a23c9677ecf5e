"""Fuzz targets: each module has `seeds` and `check`; see `tests.fuzz.target.Target`."""
