"""A file with a random key, created on first use, that only its owner can read."""

import contextlib
import os
import secrets
from pathlib import Path

_KEY_BYTES = 32


def key_in(path: Path) -> str:
    """Return the key in a file: 256 random bits as text. Creates the file if it does not exist; blocking.

    Processes that create it at the same time return the same key.

    Raises:
        OSError: the file cannot be read or created.
        ValueError: it is empty, or other users may access it.
    """
    if not path.exists():
        _create(path)
    with path.open() as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise ValueError(f"{path} must be accessible to its owner only (mode 0600)")
        key = file.read().strip()
    if not key:
        raise ValueError(f"{path} is empty")
    return key


def _create(path: Path) -> None:
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{secrets.token_urlsafe(_KEY_BYTES)}\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(new, path)
    finally:
        new.unlink(missing_ok=True)
