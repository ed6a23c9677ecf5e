"""Every DICOM-like file that pydicom provides: bundled ones, and those of the package pydicom-data."""

from functools import cache
from pathlib import Path

import data_store
import pydicom.data


@cache
def corpus() -> tuple[Path, ...]:
    """Return the files, bundled ones first. Some are damaged or not DICOM."""
    bundled = Path(pydicom.data.__file__).parent / "test_files"
    downloaded = Path(data_store.__file__).parent / "data"
    charset = Path(pydicom.data.__file__).parent / "charset_files"
    files = [path for folder in (bundled, charset, downloaded) for path in folder.rglob("*") if path.is_file()]
    return tuple(sorted(path for path in files if path.suffix not in {".py", ".pyc", ".json", ".txt", ".md"}))


def name_of(path: Path) -> str:
    """Return the test id for a file."""
    return path.name
