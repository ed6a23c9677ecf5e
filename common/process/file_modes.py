"""Permissions of files."""

import os
import stat
from pathlib import Path

_OF_OTHERS = 0o027
"""Neither writing by the group, nor anything by all other users of the machine: the index contains patient data."""


def restrict_new_files() -> None:
    """Create files for the own user, readable by the group only; a stricter umask of the system remains."""
    os.umask(os.umask(_OF_OTHERS) | _OF_OTHERS)


def restrict(path: Path) -> None:
    """Let only its owner access a file that all users of the machine may access. Raises: OSError."""
    if path.stat().st_mode & stat.S_IRWXO:
        path.chmod(0o600)
