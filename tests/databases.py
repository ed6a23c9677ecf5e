"""Migrated SQLite databases as copies of one file, because a migration takes longer than most tests."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from server.adapters.sql.engine import migrate


@cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="dicomstore-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    migrate(f"sqlite:///{folder / 'index.db'}")
    return folder / "index.db"


def migrated(path: Path) -> str:
    """Create an empty index of the current schema; return its URL."""
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    shutil.copyfile(_template(), path)
    return f"sqlite:///{path}"


def migrated_index(data: Path) -> None:
    """Create the index of a data directory that is not in use yet; the first start finds it migrated."""
    index = data / "index.db"
    if not index.exists() and not (data / "archive.json").exists() and (data.is_dir() or not data.exists()):
        migrated(index)
