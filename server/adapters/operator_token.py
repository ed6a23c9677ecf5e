"""The token of the operator of the machine: a file that only the user of the core can read.

Whoever can read it may administer the archive through its interfaces. The command line uses it for a core on this
machine.
"""

import contextlib
import logging
import os
import re
import secrets
import stat
from pathlib import Path

PREFIX = "dcmo_"
"""Of the text of an operator's token."""

FILE_NAME = "operator.token"

_TOKEN = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}\n?")
_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO

_log = logging.getLogger("dicomstore.authentication")


def operator_token(directory: Path) -> str | None:
    """Return the operator's token in a directory, and create it on the first call; blocking.

    Returns None, with a warning in the log, if the file is not usable: on a full disk, if its group or other
    users may access it, or if it contains anything else.
    """
    path = directory / FILE_NAME
    try:
        if not path.exists():
            _create(path)
        with path.open() as file:
            is_shared = os.fstat(file.fileno()).st_mode & _FOR_OTHERS
            text = file.read(100)
    except (OSError, UnicodeDecodeError) as error:
        _log.warning("no operator's token file=%s cause=%s", path, type(error).__name__)
        return None
    if is_shared or not _TOKEN.fullmatch(text):
        _log.warning("operator's token not accepted file=%s cause=%s", path, "mode" if is_shared else "content")
        return None
    return text.strip()


def _create(path: Path) -> None:
    """Create the file. Another process may do so at the same time; the first one wins."""
    new = path.with_name(f"{FILE_NAME}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{PREFIX}{secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(new, path)
    finally:
        new.unlink(missing_ok=True)
