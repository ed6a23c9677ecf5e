"""Native DICOM Model XML in requests."""

import pytest

from facade.errors import Refusal
from facade.request.dicom_xml import parse_xml

DOCUMENT = '<?xml version="1.0" encoding="{}"?><NativeDicomModel/>'


def test_encodings_that_python_knows_are_accepted() -> None:
    for encoding in ("UTF-8", "ISO-8859-1", "US-ASCII"):
        assert parse_xml(DOCUMENT.format(encoding).encode()) == {}


@pytest.mark.parametrize("encoding", ["unknown", "base64", "idna", "punycode", "UTF-32", "big5", "x" * 1000])
def test_other_encodings_are_400(encoding: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse_xml(DOCUMENT.format(encoding).encode())
    assert refused.value.status == 400
