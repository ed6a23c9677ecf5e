"""Whole Part 10 files, with file meta information and deflated data sets.

The input is two bytes for validation mode and chunk size, then the file after its preamble and prefix.
"""

from collections.abc import Iterator

from tests import malformed
from tests.data import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG_BASELINE,
    element,
    part10,
    part10_of,
    required_elements,
)
from tests.fuzz.files import MODES, check_file

_PREFIX = bytes(128) + b"DICM"


def seeds() -> Iterator[bytes]:
    """Yield a file in each transfer syntax, malformed files, and files cut off."""
    files = [
        *(part10(transfer_syntax=syntax, frames=[b"abcd", b"efgh"], PatientWeight="70.5") for syntax in _NATIVE),
        part10(transfer_syntax=JPEG_BASELINE, fragments=[[b"\xff\xd8\xff0", b"12"], [b"\xff\xd8\xff4"]]),
        part10(transfer_syntax=JPEG_BASELINE, fragments=[[b"\xff\xd8ab"], [b"\xff\xd8cd"]], extended_offset_table=True),
        part10_of([element(0x00000002, "UI", b"1.2\0", IMPLICIT_LITTLE), *required_elements()]),
        part10_of(required_elements(), "1.2.3"),
        _PREFIX + b"".join(required_elements()),
        malformed.image(end=bytes(64)),
        malformed.without_media_storage_uids(),
        malformed.other_media_storage_uids(),
        malformed.implicit_data_set_labelled_explicit(),
        malformed.three_native_frames_of_five(),
        malformed.compressed_icon(),
    ]
    for number, file in enumerate(files):
        for end in (len(file), len(file) // 2):
            yield bytes([number, 3 * number]) + file[len(_PREFIX) : end]


_NATIVE = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED)


def check(data: bytes) -> None:
    """Check the guarantees of `tests.fuzz.files` for the file."""
    check_file(_PREFIX + data[2:], MODES[data[0] % 3] if data else MODES[0], data[1] if len(data) > 1 else 1)
