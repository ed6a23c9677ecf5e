"""Permissions of the files that a program creates."""

import os

_OF_OTHERS = 0o027
"""Neither writing by the group, nor anything by all other users of the machine: the index contains patient data."""


def restrict_new_files() -> None:
    """Create files for the own user, readable by the group only; a stricter umask of the system remains."""
    os.umask(os.umask(_OF_OTHERS) | _OF_OTHERS)
