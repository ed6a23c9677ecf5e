"""Names in every character set are found by their Unicode text and returned correctly (PS3.5 annexes H to K)."""

import asyncio
import json
import re
from pathlib import Path
from urllib.parse import quote

import httpx
import pydicom
import pytest
import pytest_asyncio
from pydicom.data import get_charset_files

from tests.data import dataset, element, file_of, new_uid, part10_of, required_elements
from tests.integration.facade.serving import JSON, stored

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Section, Specific Character Set, bytes of the name, its text.
ANNEXES = [
    (
        "H.3.1",
        b"\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    (
        "H.3.2",
        b"ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    (
        "I.2",
        b"\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    ("J.1", b"ISO_IR 192", "Wang^XiaoDong=王^小東=".encode(), "Wang^XiaoDong=王^小東"),
    ("J.3", b"GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东"),
    ("J.4", b"GBK", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东"),
    (
        "K.2",
        b"\\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东",
    ),
]
FILES = sorted(
    path for path in get_charset_files("*.dcm") if "PatientName" in pydicom.dcmread(path, specific_tags=["PatientName"])
)


def with_name(charset: bytes, name: bytes, study: str) -> bytes:
    """Return a file in which the name of the patient has these bytes."""
    elements = required_elements(StudyInstanceUID=study.encode() + b"\0" * (len(study) % 2))
    terms = element(0x00080005, "CS", charset + b" " * (len(charset) % 2))
    patient = element(0x00100010, "PN", name + b" " * (len(name) % 2))
    place = next(at for at, one in enumerate(elements) if one[:4] == b"\x10\x00\x20\x00")
    return part10_of([terms, *elements[:place], patient, *elements[place:]])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def studies(shared_web: httpx.AsyncClient) -> dict[str, str]:
    """An archive of all names; the study of each."""
    of = {key: new_uid() for key in (*(section for section, *_ in ANNEXES), *FILES)}
    await stored(shared_web, *(with_name(charset, name, of[section]) for section, charset, name, _ in ANNEXES))
    for path in FILES:
        made, theirs = dataset(StudyInstanceUID=of[path], SeriesInstanceUID=new_uid()), pydicom.dcmread(path)
        del made.PatientName
        for tag in (0x00080005, 0x00100010):
            if tag in theirs:
                made[tag] = theirs.get_item(tag)  # as it is in the file
        await stored(shared_web, file_of(made))
    return of


async def assert_found(web: httpx.AsyncClient, study: str, name: str) -> None:
    """Search for a name by each of its component groups, and by beginnings of its words."""
    for group in filter(None, name.split("=")):
        for query in (
            f"PatientName={quote(group)}",
            f"PatientName=*{quote(group[1:])}",
            f"PatientName={quote(group.replace('^', ' ').split()[0])}&fuzzymatching=true",
        ):
            response = await web.get(f"/v2/studies?{query}", headers=JSON)
            assert response.status_code == 200, query
            names = {match["0020000D"]["Value"][0]: match["00100010"]["Value"][0] for match in response.json()}
            assert "=".join(names[study].values()) == name.rstrip("="), query


@pytest.mark.parametrize(("section", "name"), [(section, name) for section, _, _, name in ANNEXES])
async def test_a_name_of_ps3_5_is_found_and_returned(
    shared_web: httpx.AsyncClient, studies: dict[str, str], section: str, name: str
) -> None:
    await assert_found(shared_web, studies[section], name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: Path(path).stem)
async def test_a_name_of_a_charset_file_is_found_and_returned(
    shared_web: httpx.AsyncClient, studies: dict[str, str], path: str
) -> None:
    await assert_found(shared_web, studies[path], str(pydicom.dcmread(path).PatientName))


async def test_a_name_typed_into_curl_is_found(shared_web: httpx.AsyncClient, studies: dict[str, str]) -> None:
    """Such a client sends the bytes as they are, here cut within a character, and again on the same connection."""
    url = shared_web.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        for _ in range(2):
            line = "GET /v2/studies?PatientName=*王^小東* HTTP/1.1\r\n"
            sent = f"{line}Host: localhost\r\nAccept: application/dicom+json\r\n\r\n".encode()
            cut = sent.index("小".encode()) + 1
            for part in (sent[:cut], sent[cut:]):
                writer.write(part)
                await writer.drain()
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            [length] = re.findall(rb"(?i)content-length: ([0-9]+)", answer)
            found = json.loads(await reader.readexactly(int(length)))
            assert studies["J.1"] in [match["0020000D"]["Value"][0] for match in found]
    finally:
        writer.close()


async def test_the_files_are_there() -> None:
    assert len(FILES) >= 14
