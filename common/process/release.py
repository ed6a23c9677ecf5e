"""The release of the installed programs."""

from functools import cache
from importlib.metadata import version


@cache
def release() -> str:
    """Return the version of the installed package. Reading its metadata takes milliseconds, so it is done once."""
    return version("dicomstore")
