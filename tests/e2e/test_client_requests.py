"""Exact requests of real clients, and the required responses: status, media type, and type of the first part.

From the sources of the clients that the rows name. Each is sent to both versions of the API, with the headers
that are written here and Host.
"""

import http.client
from dataclasses import dataclass

import httpx
import pytest

from tests.data import UID_ROOT, part10
from tests.e2e.archive import Archive
from tests.e2e.studies import (
    DOCUMENT_STUDY,
    PHANTOM_STUDY,
    SLIDE_STUDY,
    document_study,
    in_own_study,
    phantom_study,
    slide_study,
    study_of,
)

JSON, PDF, MP4, JPEG, PNG, XML = (
    "application/dicom+json", "application/pdf", "video/mp4", "image/jpeg", "image/png", "application/dicom+xml",
)  # fmt: skip
DICOM, OCTETS = "application/dicom", "application/octet-stream"
ELE, RLE, J2K, BASELINE = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.50",
)
MPEG4 = "1.2.840.10008.1.2.4.102"

VIDEO_STUDY = f"{UID_ROOT}.72"
VIDEO = b"\0\0\0\x18ftypmp42 not a real video, but it is not decoded here" * 20

CT = f"studies/{PHANTOM_STUDY}/series/{PHANTOM_STUDY}.1"
CT1 = f"{CT}/instances/{PHANTOM_STUDY}.1.1"
SEG = f"studies/{PHANTOM_STUDY}/series/{PHANTOM_STUDY}.2/instances/{PHANTOM_STUDY}.2.1"
DOC = f"studies/{DOCUMENT_STUDY}/series/{DOCUMENT_STUDY}.1/instances/{DOCUMENT_STUDY}.1.1"
SLIDE = f"studies/{SLIDE_STUDY}/series/{SLIDE_STUDY}.1"
TILES = f"{SLIDE}/instances/{SLIDE_STUDY}.1.1"
VID = f"studies/{VIDEO_STUDY}/series/{VIDEO_STUDY}.1/instances/{VIDEO_STUDY}.1.1"
_MR_STUDY, _SR_STUDY = study_of("emri_small_RLE.dcm"), study_of("reportsi.dcm")
MR = f"studies/{_MR_STUDY}/series/{_MR_STUDY}.1/instances/{_MR_STUDY}.1.1"
SR = f"studies/{_SR_STUDY}/series/{_SR_STUDY}.1/instances/{_SR_STUDY}.1.1"

IMG = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
PAGE = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
OHIF_FIELDS = "includefield=00081030%2C00080060%2C00080090%2C00100030"
OLD_OHIF = "application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*"
SLIM_TILE = ", ".join(
    [
        *(
            f'multipart/related; type="{name}"; transfer-syntax=1.2.840.10008.1.2.4.{number}'
            for name, number in [
                ("image/jls", 80), ("image/jls", 81), ("image/jp2", 90), ("image/jp2", 91), ("image/jpx", 92),
                ("image/jpx", 93),
            ]
        ),
        'multipart/related; type="application/octet-stream"; transfer-syntax=*',
        'multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50',
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A request, and the answer that the client can use.

    path: below the version, with the query.
    accept: None is no such header.
    part: Content-Type of the first part; empty if the answer has none.
    also: headers besides Accept and Range.
    """

    client: str
    path: str
    accept: str | None
    media_type: str
    part: str = ""
    status: int = 200
    range: str = ""
    also: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """Return a name for the test."""
        place = self.path.replace(UID_ROOT, "").partition("?")[0].rpartition("instances/")[2]
        return f"{self.client}-{place}-{self.accept}"[:90]


def dicom(syntax: str) -> str:
    return f"{DICOM}; transfer-syntax={syntax}"


def octets(syntax: str) -> str:
    return f"{OCTETS}; transfer-syntax={syntax}"


GO = (("User-Agent", "Go-http-client/1.1"), ("Accept-Encoding", "gzip"))
JAVA = (
    ("Connection", "Upgrade, HTTP2-Settings"), ("Content-Length", "0"),
    ("HTTP2-Settings", "AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA"), ("Upgrade", "h2c"),
    ("User-Agent", "Java-http-client/17.0.15"),
)  # fmt: skip
XHR2 = (
    ("Connection", "keep-alive"), ("User-Agent", "Mozilla/5.0 (Linux x64) node.js/20.20.2 v8/11.3.244.8-node.38"),
    ("Content-Length", "0"),
)  # fmt: skip
REQUESTS = (
    ("User-Agent", "python-requests/2.32.5"),
    ("Accept-Encoding", "gzip, deflate"),
    ("Connection", "keep-alive"),
)
"""Headers that HTTP libraries add to each request."""

ROWS = [
    # OHIF 3.13
    Row("ohif", f"studies?PatientName=*head*&limit=101&offset=0&fuzzymatching=false&{OHIF_FIELDS}", JSON, JSON),
    Row("ohif", f"studies?00100020=*PHAN*&ModalitiesInStudy=CT&limit=101&offset=0&{OHIF_FIELDS}", JSON, JSON),
    Row("ohif", f"studies?limit=101&offset=0&StudyInstanceUID={PHANTOM_STUDY}%5C{SLIDE_STUDY}&{OHIF_FIELDS}", JSON,
        JSON),
    Row("ohif", f"studies/{PHANTOM_STUDY}/series?includefield=00080021%2C00080031%2C0008103E%2C00200011", JSON, JSON),
    Row("ohif", f"{CT}/metadata", JSON, JSON),
    Row("ohif before 3.9", "studies?limit=101&offset=0", OLD_OHIF, JSON),
    Row("ohif before 3.9", f"{CT}/metadata", OLD_OHIF, JSON),
    Row("ohif", f"{CT1}/frames/1", 'multipart/related; type="application/octet-stream"; transfer-syntax="*"',
        OCTETS, octets(ELE)),
    Row("ohif", f"{MR}/frames/3", 'multipart/related; type="application/octet-stream"; transfer-syntax="*"',
        OCTETS, octets(RLE)),
    Row("ohif", f"{CT1}/frames/1", f'multipart/related; type="image/jp2"; transfer-syntax="{J2K}"', "image/jp2",
        f"image/jp2; transfer-syntax={J2K}"),
    Row("ohif", f"{CT1}/frames/1", f'multipart/related; type=image/jp2; transfer-syntax={J2K}; transfer-syntax="*"',
        "image/jp2", f"image/jp2; transfer-syntax={J2K}"),
    Row("ohif", SEG, 'multipart/related; type="application/dicom"', DICOM, dicom(ELE)),
    Row("ohif", MR, 'multipart/related; type="application/dicom"', DICOM, dicom(ELE)),
    Row("ohif", f"{DOC}/bulkdata/00420011", "*/*", PDF + "|" + OCTETS),
    Row("ohif", f"{DOC}/bulkdata/00420011", 'multipart/related; type="application/octet-stream"', OCTETS, OCTETS),
    Row("ohif", f"{DOC}/rendered", "*/*", PDF),
    Row("ohif", f"{DOC}/rendered", PAGE, PDF),
    Row("ohif", f"{VID}/rendered", "*/*", MP4),
    Row("ohif", f"{VID}/rendered", "*/*", MP4, status=206, range="bytes=0-99"),
    Row("ohif", f"{VID}/pixeldata?accept=video/mp4", "*/*", MP4),
    Row("ohif", f"{SR}/rendered", PAGE, "text/html"),
    Row("ohif", f"wado?requestType=WADO&studyUID={_MR_STUDY}&seriesUID={_MR_STUDY}.1&objectUID={_MR_STUDY}.1.1"
        "&contentType=application/dicom&transferSyntax=*", "*/*", DICOM),
    *(Row("ohif", f"{base}/thumbnail?accept=image/jpeg", IMG, JPEG)
      for base in (f"studies/{PHANTOM_STUDY}", CT, CT1, TILES, SEG, DOC, SR, VID)),
    Row("ohif", f"{CT}/thumbnail?accept=image%2Fjpeg", 'multipart/related; type="application/octet-stream"', JPEG),
    Row("ohif", f"{CT1}/rendered?accept=image%2Fjpeg", 'multipart/related; type="application/octet-stream"', JPEG),
    Row("ohif", f"{CT}/thumbnail?viewport=256%2C256", JPEG, JPEG),
    Row("ohif", f"{CT}/instances?limit=1&includefield=00080018", JSON, JSON),
    # Cornerstone3D
    Row("cornerstone", f"{CT1}/frames/1", "multipart/related; type=application/octet-stream; transfer-syntax=*",
        OCTETS, octets(ELE)),
    Row("cornerstone", f"{TILES}/frames/7", "multipart/related; type=application/octet-stream; transfer-syntax=*",
        OCTETS, octets(BASELINE)),
    Row("cornerstone", f"{CT1}/frames/1", "application/octet-stream; transfer-syntax=*", octets(ELE), status=206,
        range="bytes=0-65535"),
    Row("cornerstone", f"{DOC}/bulkdata/00420011", "application/octet-stream", OCTETS, status=206, range="bytes=0-99"),
    Row("cornerstone", f"{CT1}/rendered/1", "*/*", JPEG),
    Row("cornerstone", f"{CT1}/thumbnail/1", "*/*", JPEG),
    Row("cornerstone", f"{CT1}/frames/1?accept=image/jphc", "*/*", "image/jphc; transfer-syntax="),
    Row("cornerstone", f"{CT1}/frames/1?accept=image/jhc", "*/*", "image/jhc; transfer-syntax="),
    # dicomweb-client for JavaScript
    Row("dicomweb-client.js", f"{CT1}/frames/1", 'multipart/related; type="application/octet-stream"', OCTETS,
        octets(ELE)),
    Row("dicomweb-client.js", f"{MR}/frames/1", 'multipart/related; type="application/octet-stream"', OCTETS,
        octets(ELE)),
    Row("dicomweb-client.js", f"{MR}/frames/1", 'multipart/related; type="image/x-dicom-rle"; transfer-syntax=' + RLE,
        "image/x-dicom-rle|image/dicom-rle", "image/"),
    Row("dicomweb-client.js", CT1, 'multipart/related; type="application/dicom"', DICOM, dicom(ELE)),
    Row("dicomweb-client.js", f"{CT1}/rendered?window=40,400,linear", PNG, PNG),
    Row("dicomweb-client.js", f"{MR}/frames/2/rendered?quality=80", JPEG, JPEG),
    Row("dicomweb-client.js", f"{CT1}/thumbnail", JPEG, JPEG),
    # dicomweb-client for Python
    Row("dicomweb-client.py", "studies?PatientName=Phantom%5EHea%2A&fuzzymatching=false&limit=5&offset=0"
        "&includefield=all",
        "application/dicom+json, application/json", JSON),
    Row("dicomweb-client.py", f"{CT1}/metadata", "application/dicom+json, application/json", JSON),
    Row("dicomweb-client.py", f"studies/{PHANTOM_STUDY}", 'multipart/related; type="application/dicom"', DICOM,
        dicom(ELE)),
    Row("dicomweb-client.py", MR, 'multipart/related; type="application/dicom"; transfer-syntax=*', DICOM, dicom(RLE)),
    Row("dicomweb-client.py", f"{MR}/frames/1,2,3", 'multipart/related; type="*/*"', "", "image/dicom-rle; transfer"),
    Row("dicomweb-client.py", f"{TILES}/frames/1,2",
        f'multipart/related; type="image/jpeg"; transfer-syntax="{BASELINE}"', JPEG,
        f"{JPEG}; transfer-syntax={BASELINE}"),
    Row("dicomweb-client.py", f"{DOC}/bulkdata/00420011", 'multipart/related; type="*/*"', OCTETS + "|" + PDF, ""),
    Row("dicomweb-client.py", f"{CT1}/rendered", "image/", "image/"),
    Row("dicomweb-client.py", f"{CT1}/rendered", "image/*", "image/"),
    Row("dicomweb-client.py", f"{CT}/rendered", "image/jpeg", JPEG),
    # wsidicom
    Row("wsidicom", f"studies/{SLIDE_STUDY}/instances?00080016=1.2.840.10008.5.1.4.1.1.77.1.6&00080060=SM"
        f"&0020000E={SLIDE_STUDY}.1&0020000E={SLIDE_STUDY}.9&includefield=AvailableTransferSyntaxUID",
        "application/dicom+json, application/json", JSON),
    Row("wsidicom", f"studies/{SLIDE_STUDY}/instances?00080016=1.2.840.10008.5.1.4.1.1.91.1&00080060=ANN"
        f"&0020000E={SLIDE_STUDY}.1&includefield=AvailableTransferSyntaxUID",
        "application/dicom+json, application/json", "", status=204),
    Row("wsidicom", f"{TILES}/frames/17,18,19", f'multipart/related; type="image/jpeg"; transfer-syntax={BASELINE}',
        JPEG, f"{JPEG}; transfer-syntax={BASELINE}"),
    Row("wsidicom", f"{MR}/frames/1", f'multipart/related; type="image/jpeg"; transfer-syntax={BASELINE}', "",
        status=406),
    # Slim and dicom-microscopy-viewer
    Row("slim", f"{SLIDE}/metadata", JSON, JSON),
    Row("slim", f"{TILES}/frames/5", SLIM_TILE, OCTETS, octets(BASELINE)),
    Row("slim", f"{TILES}/rendered?viewport=256,256&iccprofile=yes", PNG, PNG),
    Row("slim", f"{SLIDE}/instances/{SLIDE_STUDY}.1.8/rendered", PNG, PNG),
    # Weasis
    Row("weasis", "studies?00100020=PHANTOM&includefield=00080020%2C00080030%2C00080050", JSON, JSON),
    Row("weasis", f"studies/{PHANTOM_STUDY}/series?0020000E={PHANTOM_STUDY}.1&includefield=00201209", JSON, JSON),
    Row("weasis", CT, 'multipart/related;type="application/dicom";transfer-syntax=*', DICOM, dicom(ELE)),
    Row("weasis", MR, 'multipart/related;type="application/dicom";transfer-syntax=*', DICOM, dicom(RLE)),
    Row("weasis", f"{CT}/thumbnail?viewport=256%2C256", JPEG, JPEG),
    Row("weasis", f"{CT1}/rendered?viewport=256%2C256", JPEG, JPEG),
    # ez-wsi-dicomweb
    Row("ez-wsi", f"{TILES}/frames/1,2", 'multipart/related; type="application/octet-stream"; transfer-syntax=*',
        OCTETS, octets(BASELINE)),
    Row("ez-wsi", TILES, "application/dicom; transfer-syntax=*", dicom(BASELINE)),
    Row("ez-wsi", SLIDE, 'multipart/related; transfer-syntax=*; type="application/dicom"', DICOM, dicom(BASELINE)),
    Row("ez-wsi", f"{DOC}/bulkdata/00420011", "application/octet-stream; transfer-syntax=*", OCTETS),
    # dicomtrolley, curl and others with the default headers of their HTTP library
    Row("dicomtrolley", f"studies/{PHANTOM_STUDY}", "*/*", DICOM, dicom(ELE)),
    Row("dicomtrolley", f"studies/{_MR_STUDY}", "*/*", DICOM, dicom(RLE)),
    Row("dicomtrolley", "studies?PatientID=PHANTOM&includefield=NumberOfStudyRelatedInstances&includefield=StudyTime",
        "*/*", JSON),
    Row("dicomtrolley", f"{CT}/metadata", "*/*", JSON),
    Row("dicomtrolley", f"wado?requestType=WADO&studyUID={PHANTOM_STUDY}&seriesUID={PHANTOM_STUDY}.1"
        f"&objectUID={PHANTOM_STUDY}.1.3&contentType=application/dicom", "*/*", DICOM),
    Row("postman", f"{CT1}/rendered", None, JPEG),
    # 3D Slicer, adapters, collections of requests
    Row("slicer", CT1, 'multipart/related; type="application/dicom"; transfer-syntax=*', DICOM, dicom(ELE)),
    Row("google adapter", CT1, "application/dicom; transfer-syntax=*", dicom(ELE)),
    Row("postman", f"{CT1}/frames/1", "application/octet-stream; transfer-syntax=*", octets(ELE)),
    Row("postman", f"{CT1}/rendered", "image/jpeg", JPEG),
    Row("postman", f"{CT1}/rendered", "application/jpeg", "", status=406),
    # HTTP libraries that send no Accept header: it means */* (RFC 9110 section 12.5.1)
    *(
        Row(client, path, None, media_type, part, also=also)
        for client, also in (("go", GO), ("java", JAVA))
        for path, media_type, part in (
            (f"studies?StudyInstanceUID={PHANTOM_STUDY}", JSON, ""),
            (f"{CT}/instances?limit=1", JSON, ""),
            (f"{CT}/metadata", JSON, ""),
            (f"{CT1}/metadata", JSON, ""),
            (f"studies/{_MR_STUDY}", DICOM, dicom(RLE)),
            (MR, DICOM, dicom(RLE)),
            (f"{MR}/frames/1", OCTETS, octets(RLE)),
            (f"{DOC}/bulkdata/00420011", PDF + "|" + OCTETS, ""),
            (f"{DOC}/bulkdata", OCTETS, ""),
            (f"{CT1}/rendered", JPEG, ""),
            (f"{DOC}/rendered", PDF, ""),
            (f"{CT1}/thumbnail", JPEG, ""),
            ("changefeed?limit=1", "application/json", ""),
            ("extendedquerytags", "application/json", ""),
            ("api.json", "application/json", ""),
        )
    ),
    # dicomweb-client for JavaScript under Node, with xhr2
    Row("dicomweb-client.js node", f"studies?StudyInstanceUID={PHANTOM_STUDY}&limit=5", JSON, JSON, also=XHR2),
    Row("dicomweb-client.js node", MR, 'multipart/related; type="application/dicom"', DICOM, dicom(ELE), also=XHR2),
    Row("dicomweb-client.js node", f"{CT1}/rendered", None, JPEG, also=XHR2),
    Row("dicomweb-client.js node", f"{CT1}/frames/1/rendered", None, JPEG, also=XHR2),
    Row("dicomweb-client.js node", f"{CT1}/thumbnail", None, JPEG, also=XHR2),
    Row("dicomweb-client.js node", f"{DOC}/bulkdata/00420011", None, PDF + "|" + OCTETS, also=XHR2),
    # Orthanc's DICOMweb plugin as a client
    Row("orthanc", f"studies?StudyInstanceUID={PHANTOM_STUDY}", "*/*", JSON),
    Row("orthanc", MR, 'multipart/related; type="application/dicom"; transfer-syntax=*', DICOM, dicom(RLE)),
    # Google's dcmweb
    Row("dcmweb", "studies?limit=5000", "*/*", JSON, also=REQUESTS),
    Row("dcmweb", f"studies/{PHANTOM_STUDY}/instances?includefield=0020000D&includefield=0020000E&limit=5000&offset=0",
        "*/*", JSON, also=REQUESTS),
    Row("dcmweb", MR, "application/dicom; transfer-syntax=*", dicom(RLE), also=REQUESTS),
    Row("dcmweb", f"{TILES}/frames/1", 'multipart/related; type="image/jpeg"', JPEG, "image/jpeg",
        also=REQUESTS),
    Row("dcmweb", f"{CT1}/rendered", 'multipart/related; type="image/png"', PNG, PNG, also=REQUESTS),
]  # fmt: skip


@pytest.fixture(scope="module")
def stored(archive: Archive) -> Archive:
    """An archive with something of everything."""
    files = [
        *phantom_study(), *slide_study(), document_study(), video(),
        in_own_study("emri_small_RLE.dcm"), in_own_study("reportsi.dcm"),
    ]  # fmt: skip
    with httpx.Client(base_url=archive.http, trust_env=False, timeout=60) as client:
        for file in files:
            answer = client.post("/v2/studies", content=file, headers={"Content-Type": DICOM, "Accept": JSON})
            assert answer.status_code in (200, 202), answer.text
    return archive


def video() -> bytes:
    return part10(
        transfer_syntax=MPEG4, fragments=[[VIDEO]], SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.4.1",
        StudyInstanceUID=VIDEO_STUDY, SeriesInstanceUID=f"{VIDEO_STUDY}.1", SOPInstanceUID=f"{VIDEO_STUDY}.1.1",
        Modality="XC", Rows=64, Columns=64, SamplesPerPixel=3, PhotometricInterpretation="YBR_PARTIAL_420",
        PlanarConfiguration=0, NumberOfFrames=25, CineRate=25, FrameTime=40,
    )  # fmt: skip


def ask(archive: Archive, target: str, headers: dict[str, str]) -> tuple[int, str, bytes]:
    """Send a GET with these headers and no others; return status, Content-Type and body."""
    connection = http.client.HTTPConnection("127.0.0.1", archive.http_port, timeout=60)
    try:
        connection.putrequest("GET", target, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Content-Type", ""), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_client_gets_a_response_that_it_can_use(stored: Archive, version: str, row: Row) -> None:
    headers = {"Accept": row.accept} if row.accept is not None else {}
    if row.range:
        headers["Range"] = row.range
    headers |= dict(row.also)
    status, content_type, body = ask(stored, f"/{version}/{row.path}", headers)

    assert status == row.status, body[:500]
    if row.status >= 300:
        return
    if row.part or content_type.startswith("multipart/related"):
        types = [f'multipart/related; type="{name}' for name in row.media_type.split("|")]
        assert content_type.startswith(tuple(types)), content_type
        head = body.partition(b"\r\n\r\n")[0].split(b"\r\n")
        assert head[1].startswith(f"Content-Type: {row.part}".encode()), head
    elif row.media_type:
        assert content_type.startswith(tuple(row.media_type.split("|"))), content_type
    assert body or row.status == 204


STORES = {
    "ohif": (
        {"Content-Type": 'multipart/related; type="application/dicom"; boundary="----xYz"', "Accept": "*/*"},
        "----xYz",
        JSON,
    ),
    "dicomweb-client.py": (
        {
            "Content-Type": 'multipart/related; type="application/dicom"; '
            'boundary="0f3cf5c0-70e0-41ef-baef-c6f9f65ec3e1"',
            "Accept": "*/*",
            "Cache-Control": "no-cache",
            "Transfer-Encoding": "chunked",
        },
        "0f3cf5c0-70e0-41ef-baef-c6f9f65ec3e1",
        JSON,
    ),
    "weasis": (
        {"Content-Type": 'multipart/related;type="application/dicom";boundary=b8', "Accept": XML},
        "b8",
        XML,
    ),
    "dcm4che": (
        {"Content-Type": "multipart/related; type=application/dicom; boundary=myboundary", "Accept": XML},
        "myboundary",
        XML,
    ),
    "postman": ({"Content-Type": DICOM, "Accept": JSON}, "", JSON),
    "go": (dict(GO) | {"Content-Type": DICOM}, "", JSON),
    "go in chunks": (dict(GO) | {"Content-Type": DICOM, "Transfer-Encoding": "chunked"}, "", JSON),
    "java": ({name: value for name, value in JAVA if name != "Content-Length"} | {"Content-Type": DICOM}, "", JSON),
    "java in chunks": (
        {name: value for name, value in JAVA if name != "Content-Length"}
        | {"Content-Type": DICOM, "Transfer-encoding": "chunked"},
        "",
        JSON,
    ),
    "dicomweb-client.js node": (
        {
            "Content-Type": 'multipart/related; type="application/dicom"; '
            'boundary="dc23b407-611d-2b49-8b9b-e8a635999c82"',
            "Connection": "keep-alive",
        },
        "dc23b407-611d-2b49-8b9b-e8a635999c82",
        JSON,
    ),
    "orthanc": (
        {
            "Accept": JSON,
            "Content-Type": 'multipart/related; type="application/dicom"; '
            "boundary=e28ca14c-05ea-426a-8459-c736c233db62-e28ca14c-05ea-426a-8459-c736c233db62",
            "Transfer-Encoding": "chunked",
        },
        "e28ca14c-05ea-426a-8459-c736c233db62-e28ca14c-05ea-426a-8459-c736c233db62",
        JSON,
    ),
    "dcmweb": (dict(REQUESTS) | {"Accept": "*/*", "Content-Type": DICOM}, "", JSON),
}
"""Store requests of clients: headers, boundary in the body (none for a bare file), and readable response types."""


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("client", list(STORES))
def test_a_client_stores_twice_and_can_parse_the_response(archive: Archive, version: str, client: str) -> None:
    headers, boundary, media_type = STORES[client]
    body = part10(PatientID=f"{client}-{version}"[:64])
    if boundary:
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n"
        if client == "orthanc":
            head += f"Content-Length: {len(body)}\r\n"
        start = "\r\n" if client == "dicomweb-client.js node" else ""
        body = f"{start}{head}\r\n".encode() + body + f"\r\n--{boundary}--".encode()
    is_chunked = any(name.lower() == "transfer-encoding" for name in headers)
    for _ in range(2):
        connection = http.client.HTTPConnection("127.0.0.1", archive.http_port, timeout=60)
        connection.putrequest("POST", f"/{version}/studies", skip_accept_encoding=True)
        for name, value in (headers | ({} if is_chunked else {"Content-Length": str(len(body))})).items():
            connection.putheader(name, value)
        connection.endheaders(body, encode_chunked=is_chunked)
        answer = connection.getresponse()

        # dicomweb-client takes an answer for empty if anything follows the media type.
        assert (answer.status, answer.headers["Content-Type"]) == (200, media_type)
        assert answer.read().startswith(b"{" if media_type == JSON else b"<?xml")
        connection.close()
