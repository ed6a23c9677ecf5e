"""The Accept headers of real clients, for each resource and each stored form (PS3.18 section 8.7).

What must come back is said by rules that are written down here once more, from PS3.18 section 8.7 and the decisions;
the archive itself makes the compressed forms that it then stores.
"""

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pydicom
import pytest
import pytest_asyncio

from tests.data import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, part10
from tests.integration.facade.serving import parts_of, stored

pytestmark = pytest.mark.asyncio(loop_scope="module")

J = "1.2.840.10008.1.2.4."
RLE = "1.2.840.10008.1.2.5"
NATIVE = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, DEFLATED, EXPLICIT_BIG)
MADE = (f"{J}50", f"{J}70", f"{J}80", f"{J}90", f"{J}91", f"{J}201", f"{J}202", f"{J}203", RLE)
MP4, MPEG2 = f"{J}102", f"{J}100"
STORED_FORMS = (*NATIVE, *MADE, MP4, MPEG2)

JPEG_TYPES = (f"{J}70", f"{J}57", f"{J}51", f"{J}50")
DICOM, OCTETS = "application/dicom", "application/octet-stream"
MEDIA_TYPES = {
    **dict.fromkeys(JPEG_TYPES, "image/jpeg"),
    **dict.fromkeys((f"{J}80", f"{J}81"), "image/jls"),
    **dict.fromkeys((f"{J}90", f"{J}91"), "image/jp2"),
    **dict.fromkeys((f"{J}201", f"{J}202", f"{J}203"), "image/jphc"),
    RLE: "image/dicom-rle",
    MP4: "video/mp4",
    MPEG2: "video/mpeg2",
}


@dataclass(frozen=True)
class Rule:
    """The expected response to an Accept header. Without transfer syntaxes it is 406.

    syntaxes: what may come; "*" is the stored form. What is stored so comes so; if not, the first that can be made.
    substitute: the stored form comes if none of them can be made.
    media_type: empty is the one that belongs to what comes.
    """

    media_type: str = ""
    multipart: bool = True
    syntaxes: tuple[str, ...] = ()
    substitute: bool = False

    def expected(self, stored: str, *, of_frames: bool) -> str | None:
        """Return the transfer syntax that comes; None is 406."""
        if of_frames and stored in (DEFLATED, EXPLICIT_BIG):
            stored = EXPLICIT_LITTLE  # all there is of them in a frame: little endian words
        is_decodable = stored not in (MP4, MPEG2)
        if "*" in self.syntaxes or stored in self.syntaxes:
            return stored
        made = [each for each in self.syntaxes if each in (*MADE, EXPLICIT_LITTLE, IMPLICIT_LITTLE) and is_decodable]
        return made[0] if made else stored if self.substitute else None


def parts(media_type: str, *syntaxes: str) -> Rule:
    return Rule(media_type, True, syntaxes)


def alone(media_type: str, *syntaxes: str) -> Rule:
    return Rule(media_type, False, syntaxes)


def by_default(media_type: str, *, multipart: bool) -> Rule:
    return Rule(media_type, multipart, (EXPLICIT_LITTLE,), substitute=True)


REFUSED = Rule()
OCTET_PARTS = 'multipart/related; type="application/octet-stream"'
DICOM_PARTS = 'multipart/related; type="application/dicom"'
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"

FRAMES: dict[str, Rule] = {
    # Cornerstone3D, OHIF, dcmjs, Slim, dicomweb-client, ez-wsi, Weasis
    "multipart/related; type=application/octet-stream; transfer-syntax=*": parts(OCTETS, "*"),
    f"{OCTET_PARTS}; transfer-syntax=*": parts(OCTETS, "*"),
    f'{OCTET_PARTS}; transfer-syntax="*"': parts(OCTETS, "*"),
    'multipart/related; transfer-syntax=*; type="application/octet-stream"': parts(OCTETS, "*"),
    'multipart/related;type="application/octet-stream";transfer-syntax=*': parts(OCTETS, "*"),
    "Multipart/Related; Type=Application/Octet-Stream; Transfer-Syntax=*": parts(OCTETS, "*"),
    "application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*": parts(OCTETS, "*"),
    'multipart/related; type="*/*"': parts("", "*"),
    f'multipart/related; type="image/jp2"; transfer-syntax="{J}90"': parts("image/jp2", f"{J}90"),
    f"multipart/related; type=image/jp2; transfer-syntax={J}90": parts("image/jp2", f"{J}90"),
    f'{OCTET_PARTS}; transfer-syntax={EXPLICIT_LITTLE}; transfer-syntax="*"': parts(OCTETS, EXPLICIT_LITTLE),
    f'multipart/related; type="image/dicom+jpeg"; transfer-syntax={J}51': parts("image/dicom+jpeg", f"{J}51"),
    OCTET_PARTS: by_default(OCTETS, multipart=True),
    f'multipart/related; type="image/jpeg"; transfer-syntax={J}50, multipart/related; type="image/jls"; '
    f'transfer-syntax={J}80, multipart/related; type="image/x-dicom-rle"; transfer-syntax={RLE}': Rule(
        "list", True, (f"{J}50", f"{J}80", RLE)
    ),
    'multipart/related; type="image/jhc"': parts("image/jhc", f"{J}201", f"{J}202", f"{J}203"),
    'multipart/related; type="image/jphc"': parts("image/jphc", f"{J}201", f"{J}202", f"{J}203"),
    # wsidicom
    **{
        f'multipart/related; type="{name}"; transfer-syntax={syntax}': parts(name, syntax)
        for name, syntax in (
            *(("image/jpeg", f"{J}50"), ("image/jp2", f"{J}91"), ("image/jls", f"{J}81"), ("image/jls", f"{J}80")),
            *(("image/jpeg", f"{J}70"), ("image/jpeg", f"{J}57"), ("image/x-dicom-rle", RLE)),
            (OCTETS, EXPLICIT_LITTLE),
        )
    },
    # The service we follow, and its tutorials
    "*/*": parts(OCTETS, "*"),
    f"*/*; transfer-syntax={EXPLICIT_LITTLE}": parts(OCTETS, EXPLICIT_LITTLE),
    "application/octet-stream": by_default(OCTETS, multipart=False),
    "application/octet-stream; transfer-syntax=*": alone(OCTETS, "*"),
    f"application/octet-stream; transfer-syntax={EXPLICIT_LITTLE}": alone(OCTETS, EXPLICIT_LITTLE),
    f'{OCTET_PARTS}; transfer-syntax="{EXPLICIT_LITTLE}"': parts(OCTETS, EXPLICIT_LITTLE),
    'multipart/related; type="image/jp2"': parts("image/jp2", f"{J}90", f"{J}91"),
    "image/jp2": alone("image/jp2", f"{J}90", f"{J}91"),
    'multipart/related; type="image/jpeg"': parts("image/jpeg", *JPEG_TYPES),
    'multipart/related; type="image/jpeg"; transfer-syntax=*': parts("image/jpeg", *JPEG_TYPES),
    "application/jpeg": REFUSED,
    "application/jpeg, */*;q=0.1": parts(OCTETS, "*"),
    "application/dicom": REFUSED,
    "": parts(OCTETS, "*"),
    BROWSER: parts(OCTETS, "*"),
}
AS_STORED_ONLY = {'multipart/related; type="image/jpeg"; transfer-syntax=*'}

OBJECTS: dict[str, Rule] = {
    DICOM_PARTS: by_default(DICOM, multipart=True),
    "multipart/related; type=application/dicom": by_default(DICOM, multipart=True),
    f"{DICOM_PARTS}; transfer-syntax=*": parts(DICOM, "*"),
    'multipart/related;type="application/dicom";transfer-syntax=*': parts(DICOM, "*"),
    'multipart/related; transfer-syntax=*; type="application/dicom"': parts(DICOM, "*"),
    f"{DICOM_PARTS}; transfer-syntax={EXPLICIT_LITTLE}": parts(DICOM, EXPLICIT_LITTLE),
    f'{DICOM_PARTS}; transfer-syntax="{J}90"': parts(DICOM, f"{J}90"),
    f"{DICOM_PARTS}; transfer-syntax={MPEG2}": parts(DICOM, MPEG2),
    f"{DICOM_PARTS}; transfer-syntax={J}90, {DICOM_PARTS}; transfer-syntax=*": parts(DICOM, "*"),
    f"{DICOM_PARTS}; transfer-syntax=*; q=0.5, {DICOM_PARTS}; transfer-syntax={J}90": Rule(
        DICOM, True, (f"{J}90",), substitute=True
    ),
    "*/*": parts(DICOM, "*"),
    f"*/*; transfer-syntax={EXPLICIT_LITTLE}": parts(DICOM, EXPLICIT_LITTLE),
    BROWSER: parts(DICOM, "*"),
    OCTET_PARTS: REFUSED,
    "application/dicom+json": REFUSED,
    "": parts(DICOM, "*"),
}
INSTANCES = OBJECTS | {
    "application/dicom": by_default(DICOM, multipart=False),
    "application/dicom; transfer-syntax=*": alone(DICOM, "*"),
    f"application/dicom; transfer-syntax={EXPLICIT_LITTLE}": alone(DICOM, EXPLICIT_LITTLE),
    f"application/dicom; transfer-syntax={J}90": alone(DICOM, f"{J}90"),
}
STUDIES = OBJECTS | {"application/dicom": REFUSED, "application/dicom; transfer-syntax=*": REFUSED}

BULK: dict[str, str] = {
    **dict.fromkeys(("", "*/*", BROWSER, OCTETS, f"{OCTETS}; transfer-syntax=*"), "alone"),
    **dict.fromkeys((OCTET_PARTS, 'multipart/related; type="*/*"', f"{OCTET_PARTS}; transfer-syntax=*"), "parts"),
}
JSON = "application/dicom+json"
METADATA: dict[str, int] = {
    **dict.fromkeys((JSON, f"{JSON}, application/json", "application/json", "*/*", ""), 200),
    f"{JSON}, multipart/related; type=application/octet-stream; transfer-syntax=*": 200,
    **dict.fromkeys(("nonsense", "application/dicom", "application/data", "text/html"), 406),
}
RENDERED: dict[str, str] = {
    **dict.fromkeys(
        ("", "*/*", BROWSER, "image/jpeg", "image/*", "image/", "image/jpeg, image/png;q=0.1"), "image/jpeg"
    ),
    **dict.fromkeys(("image/png", "image/png, image/jpeg;q=0.5", "application/jpeg, image/png"), "image/png"),
    **dict.fromkeys(("application/jpeg", "application/dicom"), "406"),
}


def study_of(syntax: str) -> str:
    return f"1.2.826.0.1.3680043.10.2.{STORED_FORMS.index(syntax) + 1}"


def instance_path(syntax: str) -> str:
    return f"/v2/studies/{study_of(syntax)}/series/{study_of(syntax)}.1/instances/{study_of(syntax)}.1.1"


def uids_of(syntax: str) -> dict[str, str]:
    study = study_of(syntax)
    return {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1", "SOPInstanceUID": f"{study}.1.1"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def archive(shared_web: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    frame = bytes((x * 3 + y * 5) % 256 for y in range(32) for x in range(32))
    image = {"Rows": 32, "Columns": 32}
    await stored(
        shared_web, *(part10(transfer_syntax=each, frames=[frame], **image, **uids_of(each)) for each in NATIVE)
    )
    for syntax in MADE:
        accept = {"Accept": f"application/dicom; transfer-syntax={syntax}"}
        made = await shared_web.get(instance_path(EXPLICIT_LITTLE), headers=accept)
        data_set = pydicom.dcmread(io.BytesIO(made.content))
        for keyword, uid in uids_of(syntax).items():
            setattr(data_set, keyword, uid)
        data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
        copy = io.BytesIO()
        data_set.save_as(copy)
        await stored(shared_web, copy.getvalue())
    for syntax in (MP4, MPEG2):
        video = part10(transfer_syntax=syntax, fragments=[[b"video"]], **uids_of(syntax))
        await stored(shared_web, video)
    yield shared_web


def seen(response: httpx.Response) -> tuple[bool, str, str]:
    """Return whether an answer has an envelope, and media type and transfer syntax of its only object."""
    assert response.status_code == 200, response.text
    label = response.headers["content-type"]
    multipart = label.startswith("multipart/related")
    if multipart:
        ((label, _),) = parts_of(response)
        assert f'type="{label.partition(";")[0]}"' in response.headers["content-type"]
    media_type, _, syntax = label.partition("; transfer-syntax=")
    return multipart, media_type, syntax


def labelled(rule: Rule, syntax: str) -> str:
    return MEDIA_TYPES.get(syntax, OCTETS) if rule.media_type in ("", "list") else rule.media_type


@pytest.mark.parametrize("syntax", STORED_FORMS)
async def test_frames_are_returned_as_each_client_requests_them(archive: httpx.AsyncClient, syntax: str) -> None:
    for accept, rule in FRAMES.items():
        response = await archive.get(f"{instance_path(syntax)}/frames/1", headers={"Accept": accept})
        expected = rule.expected(syntax, of_frames=True)
        if accept in AS_STORED_ONLY and expected != syntax:
            expected = None
        if expected is None:
            assert response.status_code == 406, (accept, response.status_code)
            continue
        label = "image/x-dicom-rle" if rule.media_type == "list" and expected == RLE else labelled(rule, expected)
        assert seen(response) == (rule.multipart, label, expected), accept


@pytest.mark.parametrize("syntax", STORED_FORMS)
async def test_instances_are_returned_as_each_client_requests_them(archive: httpx.AsyncClient, syntax: str) -> None:
    study = f"/v2/studies/{study_of(syntax)}"
    for path, rules in (
        (instance_path(syntax), INSTANCES),
        (study, STUDIES),
        (f"{study}/series/{study_of(syntax)}.1", STUDIES),
    ):
        for accept, rule in rules.items():
            response = await archive.get(path, headers={"Accept": accept})
            expected = rule.expected(syntax, of_frames=False)
            if expected is None:
                assert response.status_code == 406, (path, accept, response.status_code)
            else:
                assert seen(response) == (rule.multipart, labelled(rule, expected), expected), (path, accept)


@pytest.mark.parametrize("syntax", STORED_FORMS)
async def test_other_resources_are_returned_as_each_client_requests_them(
    archive: httpx.AsyncClient, syntax: str
) -> None:
    path = instance_path(syntax)
    for accept, shape in BULK.items():
        response = await archive.get(f"{path}/bulkdata/7FE00010", headers={"Accept": accept})
        assert response.status_code == 200, accept
        assert response.headers["content-type"].startswith("multipart/related") is (shape == "parts"), accept
    for accept, status in METADATA.items():
        response = await archive.get(f"{path}/metadata", headers={"Accept": accept})
        assert response.status_code == status, accept
        if status == 200:
            assert response.headers["content-type"] == JSON
            assert response.json()[0]["00083002"] == {"vr": "UI", "Value": [syntax]}


@pytest.mark.parametrize("syntax", [*NATIVE, *MADE])
async def test_rendered_images_are_returned_as_each_client_requests_them(
    archive: httpx.AsyncClient, syntax: str
) -> None:
    path = instance_path(syntax)
    for resource in ("rendered", "frames/1/rendered", "thumbnail", "frames/1/thumbnail"):
        for accept, expected in RENDERED.items():
            response = await archive.get(f"{path}/{resource}", headers={"Accept": accept})
            found = response.headers["content-type"] if response.status_code == 200 else str(response.status_code)
            assert found == expected, (resource, accept)


@pytest.mark.parametrize("syntax", [MP4, MPEG2])
@pytest.mark.parametrize(
    "accept", [f"application/octet-stream; transfer-syntax={EXPLICIT_LITTLE}", "image/jpeg; transfer-syntax=*"]
)
async def test_a_406_names_the_media_type_and_transfer_syntax_of_the_stored_form(
    archive: httpx.AsyncClient, syntax: str, accept: str
) -> None:
    response = await archive.get(f"{instance_path(syntax)}/frames/1", headers={"Accept": accept})

    assert response.status_code == 406
    assert "transfer-syntax=*" in response.text
    assert "application/octet-stream" in response.text


async def test_a_search_returns_the_available_transfer_syntax(archive: httpx.AsyncClient) -> None:
    for syntax in STORED_FORMS:
        path = f"/v2/studies/{study_of(syntax)}/instances?includefield=AvailableTransferSyntaxUID"
        (match,) = (await archive.get(path, headers={"Accept": JSON})).json()
        assert match["00083002"] == {"vr": "UI", "Value": [syntax]}


async def test_the_accept_parameter_overrides_the_header(archive: httpx.AsyncClient) -> None:
    path = f"{instance_path(f'{J}202')}/frames/1"
    for query in (
        "accept=image/jhc",
        "accept=image/jphc",
        "accept=image/png,image/jhc",
        "accept=text/html&accept=image/jhc",
    ):
        response = await archive.get(f"{path}?{query}", headers={"Accept": OCTET_PARTS})
        assert seen(response)[0::2] == (False, f"{J}202"), query


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_request_without_an_accept_header_accepts_everything(archive: httpx.AsyncClient, version: str) -> None:
    """As Go's `net/http`, Java's `HttpClient` and `fetch` in Node send it (RFC 9110 section 12.5.1)."""
    instance = instance_path(EXPLICIT_LITTLE).removeprefix("/v2")
    series, study = instance.rpartition("/instances")[0], f"/studies/{study_of(EXPLICIT_LITTLE)}"
    resources = (study, series, instance)
    paths = [
        *(f"{each}{rest}" for each in resources for rest in ("", "/metadata", "/rendered", "/thumbnail", "/bulkdata")),
        *(f"{each}/pixeldata" for each in resources),
        *(f"{instance}/frames/1{rest}" for rest in ("", "/rendered", "/thumbnail")),
        *(f"{instance}/bulkdata/7FE00010", "/studies", "/series", "/instances"),
        *(f"{study}/series", f"{study}/instances", f"{series}/instances"),
        *("/changefeed", "/changefeed/latest", "/extendedquerytags", "/operations/" + "0" * 32, "/partitions"),
    ]
    for path in paths:
        found: list[tuple[int, str]] = []
        for accept in ("*/*", "", None):
            request = archive.build_request("GET", f"/{version}{path}", headers={"Accept": accept or ""})
            if accept is None:
                del request.headers["Accept"]
            answer = await archive.send(request)
            found.append((answer.status_code, answer.headers.get("Content-Type", "").partition("; boundary")[0]))
        assert found[0] == found[1] == found[2], (path, found)
        assert found[0][0] != 406, (path, found)


async def test_a_store_request_without_an_accept_header_is_answered_in_json(archive: httpx.AsyncClient) -> None:
    for version in ("v1", "v2"):
        request = archive.build_request(
            "POST",
            f"/{version}/studies",
            content=part10(**uids_of(EXPLICIT_LITTLE)),
            headers={"Content-Type": "application/dicom"},
        )
        del request.headers["Accept"]
        answer = await archive.send(request)
        assert answer.headers["Content-Type"] == JSON
