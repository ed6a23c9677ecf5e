"""New file meta information, which is cached for files that differ in the SOP Instance UID only."""

import pytest

from server.dicom.part10.file_meta import FileMeta, new_file_meta, read_meta, replaced_file_meta
from tests.data import EXPLICIT_LITTLE, part10

UIDS = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2", "transfer_syntax_uid": EXPLICIT_LITTLE}
LONG = "1.2.826.0.1.3680043.10.1.77"


def computed(file: bytes, uid: str) -> tuple[int, bytes]:
    found = read_meta(file, is_whole=False)
    assert isinstance(found, FileMeta)
    return found.end, new_file_meta(file[: found.end], sop_instance_uid=uid, **UIDS)


@pytest.mark.parametrize("uid", [LONG, f"{LONG}.1", f"{LONG}.23", "1.2", "#" * 27])
@pytest.mark.parametrize("of_file", [LONG, "1.2.3", f"{LONG}.23"])
def test_cached_meta_information_is_that_of_the_file(uid: str, of_file: str) -> None:
    file = part10(SOPInstanceUID=of_file)
    for end in (None, 400):
        assert replaced_file_meta(file[:end], sop_instance_uid=uid, **UIDS) == computed(file, uid)


def test_a_wrong_group_length_is_ignored() -> None:
    file = bytearray(part10(SOPInstanceUID=LONG))
    for wrong in (0, 10, 26, 5000, 1 << 31):
        file[140:144] = wrong.to_bytes(4, "little")
        assert replaced_file_meta(bytes(file), sop_instance_uid=LONG, **UIDS) == computed(bytes(file), LONG)


def test_more_bytes_are_needed_until_another_group_begins() -> None:
    file = part10(SOPInstanceUID=LONG)
    end, _ = computed(file, LONG)
    for length in range(end + 12):
        assert replaced_file_meta(file[:length], sop_instance_uid=LONG, **UIDS) is None
    assert replaced_file_meta(file[: end + 12], sop_instance_uid=LONG, **UIDS) == computed(file, LONG)
