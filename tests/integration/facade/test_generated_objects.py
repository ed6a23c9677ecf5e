"""Generated malformed objects: stored or refused with a reason, and stored ones are consistent in all forms.

MALFORMED_EXAMPLES is the number of examples of each kind (default 5); with more than the default they differ from run
to run.
"""

import io
import json
import os
import re
import xml.etree.ElementTree as ET
import zipfile
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence

from tests.data import EXPLICIT_LITTLE, IMPLICIT_LITTLE, JPEG_BASELINE, RLE_LOSSLESS
from tests.integration.facade.serving import JSON, parts_of, stow
from tests.malformed_strategies import JPEG_2000_LOSSLESS, KINDS, Malformed, mixed_studies
from tests.unit.server.dicom.reading import json_of, read

pytestmark = pytest.mark.asyncio(loop_scope="module")

_DEFAULT = 5
_EXAMPLES = int(os.environ.get("MALFORMED_EXAMPLES", _DEFAULT))
_generated = settings(
    max_examples=_EXAMPLES,
    derandomize=_EXAMPLES == _DEFAULT,
    deadline=None,
    database=None,
    phases=[Phase.generate, *([Phase.shrink] if _EXAMPLES > _DEFAULT else [])],
    suppress_health_check=list(HealthCheck),
)

VALIDATION_FAILED = 43264
_MAX_FILES = 4  # of `mixed_studies`
_TAG = re.compile(r"[0-9A-F]{8}")
_VRS = re.compile("A[EST]|CS|D[AST]|F[DL]|IS|L[OT]|O[BDFLVW]|PN|S[HLQSTV]|TM|U[CILNRSTV]")
OCTETS = "application/octet-stream"


@pytest.mark.parametrize("kind", list(KINDS))
@_generated
@given(data=st.data(), base=st.sampled_from(["/v2", "/v2", "/v1"]))
async def test_a_malformed_object_is_refused_or_consistent_in_all_responses(
    shared_web: httpx.AsyncClient, kind: str, data: st.DataObject, base: str
) -> None:
    await check_object(shared_web, base, data.draw(KINDS[kind]()))


@_generated
@given(files=mixed_studies(), base=st.sampled_from(["/v2", "/v1"]))
async def test_no_response_is_silently_partial(shared_web: httpx.AsyncClient, files: list[bytes], base: str) -> None:
    response = await stow(shared_web, *files, path=f"{base}/studies")
    assert response.status_code in (200, 202)
    url = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0].partition("/series/")[0]
    try:
        for accept in ("*/*", 'multipart/related; type="application/dicom"; transfer-syntax=*'):
            response = await shared_web.get(url, headers={"Accept": accept})
            assert response.status_code == 200
            assert sorted(body for _, body in parts_of(response)) == sorted(files)
        response = await shared_web.get(url, headers={"Accept": 'multipart/related; type="application/dicom"'})
        assert response.status_code == 200
        assert len(parts_of(response)) == len(files)
        for syntax in (EXPLICIT_LITTLE, JPEG_2000_LOSSLESS, JPEG_BASELINE, RLE_LOSSLESS):
            parts = f'multipart/related; type="application/dicom"; transfer-syntax={syntax}'
            found = await complete(shared_web, url, parts)
            check_part_of(found, len(files), 0 if found.status_code == 406 else len(parts_of(found)))
            found = await complete(shared_web, url, f"application/zip; transfer-syntax={syntax}")
            names = [] if found.status_code == 406 else zipfile.ZipFile(io.BytesIO(found.content)).namelist()
            check_part_of(found, len(files), sum(name.endswith(".dcm") for name in names))
        for path in ("rendered", "pixeldata", "bulkdata"):
            found = await complete(shared_web, f"{url}/{path}", "*/*")
            assert found.status_code in (200, 206, 404, 406), found.text
            if found.headers["content-type"].startswith("multipart/related"):
                parts_of(found)
    finally:
        await shared_web.delete(url)


async def complete(web: httpx.AsyncClient, url: str, accept: str) -> httpx.Response:
    """Return a whole response. Damage found while one is sent ends it, and is known from then on."""
    for _ in range(_MAX_FILES):
        try:
            return await web.get(url, headers={"Accept": accept})
        except httpx.RemoteProtocolError:
            continue
    return await web.get(url, headers={"Accept": accept})


def check_part_of(response: httpx.Response, stored: int, returned: int) -> None:
    """Check that a response with fewer instances than are stored is 206 and says how many, or 406 without any."""
    if returned == stored:
        assert response.status_code == 200
    elif returned == 0:
        assert response.status_code == 406
    else:
        assert response.status_code == 206
        assert re.search(rf"\b{stored - returned}\b", response.headers["warning"])
        assert response.headers["cache-control"] == "no-store"
        assert "etag" not in response.headers


async def check_object(web: httpx.AsyncClient, base: str, made: Malformed) -> None:
    response = await stow(web, made.file, path=f"{base}/studies")
    if response.status_code == 413:  # an element says that it is larger than any header may be
        assert not made.is_stored
        return
    assert response.status_code in (200, 202, 409), response.text
    outcome = strict_json(response)
    if response.status_code == 409:
        [failed] = outcome["00081198"]["Value"]
        assert failed["00081197"]["Value"] == [VALIDATION_FAILED]
        assert base == "/v1" or not made.is_stored, response.text
        return
    [item] = outcome["00081199"]["Value"]
    url = item["00081190"]["Value"][0]
    try:
        forms = Forms(web, url, made)
        await forms.check_as_stored()
        metadata = await forms.check_metadata()
        await forms.check_bulk_data(metadata)
        frames = await forms.check_frames()
        await forms.check_rendered(frames)
        await forms.check_reencoded(metadata)
        await forms.check_search(base)
    finally:
        deleted = await web.delete(url)
    assert deleted.status_code == 204


class Forms:
    """All forms in which one stored instance is retrieved."""

    def __init__(self, web: httpx.AsyncClient, url: str, made: Malformed) -> None:
        self.web, self.url, self.made = web, url, made
        self.series = url.rpartition("/instances/")[0]
        self.study = url.rpartition("/series/")[0]
        base, study, series, instance = re.split("/studies/|/series/|/instances/", url)
        self.wado_uri = f"{base}/wado?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={instance}"

    async def get(self, path: str, accept: str | None, *allowed: int) -> httpx.Response:
        url = path if path.startswith("http") else f"{self.url}{path}"
        response = await self.web.get(url, headers={} if accept is None else {"Accept": accept})
        assert response.status_code in allowed, f"{path} {accept}: {response.status_code} {response.text[:300]}"
        return response

    async def check_as_stored(self) -> None:
        """The stored form is returned byte for byte, alone, in parts and in an archive."""
        single = await self.get("", "application/dicom; transfer-syntax=*", 200)
        assert single.content == self.made.file
        for url in (self.url, self.series, self.study):
            parts = parts_of(await self.get(url, None, 200))
            assert [body for _, body in parts] == [self.made.file]
            parts = parts_of(await self.get(url, 'multipart/related; type="application/dicom"', 200))
            assert len(parts) == 1
        by_uri = await self.get(f"{self.wado_uri}&contentType=application/dicom&transferSyntax=*", None, 200)
        assert by_uri.content == self.made.file
        archive = zipfile.ZipFile(io.BytesIO((await self.get(self.study, "application/zip", 200)).content))
        [name] = archive.namelist()
        assert archive.read(name) == self.made.file

    async def check_metadata(self) -> dict[str, Any]:
        """Metadata is strict JSON, without group lengths and empty values, and has all required attributes."""
        response = await self.get("/metadata", "application/dicom+json", 200)
        [found] = strict_json(response)
        check_data_set(found)
        for url in (self.series, self.study):
            assert strict_json(await self.get(f"{url}/metadata", None, 200)) == [found]
        for tag, value in self.made.values.items():
            assert tag in found
            if isinstance(value, dict):
                assert found[tag] == value
            elif value is not ...:
                assert found[tag].get("Value") == value
        xml = await self.get("/metadata", "application/dicom+xml", 200)
        tags = [node.get("tag") for node in ET.fromstring(xml.content) if node.tag.endswith("DicomAttribute")]
        assert tags == list(found)
        return dict(found)

    async def check_bulk_data(self, data_set: dict[str, Any]) -> None:
        """Each URI leads to a value, and all of them are at /bulkdata."""
        uris = uris_in(data_set)
        for uri in uris:
            await self.get(uri, None, 200)
            await self.get(uri, OCTETS, 200)
        whole = await self.get("/bulkdata", None, 200 if uris else 404)
        if whole.status_code == 200:
            parts_of(whole)

    async def check_frames(self) -> list[int]:
        """All frames that there are can be retrieved one by one, in a list, and at /pixeldata; return their numbers.

        A frame without bytes does not exist; those after it keep their numbers.
        """
        accept = f"{OCTETS}; transfer-syntax=*"
        frames: dict[int, bytes] = {}
        number = 1
        while number <= max(frames, default=0) + 4:
            response = await self.get(f"/frames/{number}", accept, 200, 404)
            if response.status_code == 200:
                frames[number] = response.content
            number += 1
        if self.made.frames is not None:
            assert list(frames.values()) == list(self.made.frames)
        parts = f'multipart/related; type="{OCTETS}"; transfer-syntax=*'
        if not frames:
            whole = await self.get("/pixeldata", parts, 200, 404, 406)  # undivided, where fragments match no frames
            assert whole.status_code != 200 or len(parts_of(whole)) == 1
            return []
        wanted = list(frames)[:20][::-1]
        listed = parts_of(await self.get(f"/frames/{','.join(map(str, wanted))}", parts, 200))
        assert [body for _, body in listed] == [frames[number] for number in wanted]
        assert [body for _, body in parts_of(await self.get("/pixeldata", parts, 200))] == list(frames.values())
        await self.get(f"/frames/{wanted[0]},{max(frames) + 1}", parts, 404)
        return list(frames)

    async def check_rendered(self, frames: list[int]) -> None:
        """Rendered images are complete, and only existing frames are rendered."""
        allowed = {200, 404, 406} - ({404} if 1 in frames else set()) - (set() if frames else {200})
        for path in ("/rendered", "/frames/1/rendered"):
            for accept in ("image/png", None):
                image_of(await self.get(path, accept, *allowed))
        for accept in ("image/gif", "image/apng"):
            animation = image_of(await self.get("/rendered", accept, *allowed))
            if animation is not None:
                assert sum(1 for _ in ImageSequence.Iterator(animation)) <= len(frames)
        image_of(await self.get(self.wado_uri, "image/jpeg", *allowed))
        for number in frames[:4]:
            image_of(await self.get(f"/frames/{number}/rendered", "image/png", 200, 406))
        beyond = max(frames, default=0) + 1
        await self.get(f"/frames/{beyond}/rendered", "image/png", 404, *(() if frames else (406,)))
        for url in (self.url, self.series, self.study):
            assert image_of(await self.get(f"{url}/thumbnail", None, 200)) is not None
        for url in (self.series, self.study):
            await self.get(f"{url}/rendered", None, *allowed)
        if self.made.same_image is not None:
            shown = image_of(await self.get("/rendered", "image/png", 200))
            assert shown is not None
            assert (np.asarray(shown) == np.asarray(await self._picture_of_well_formed())).all()

    async def _picture_of_well_formed(self) -> Image.Image:
        assert self.made.same_image is not None
        response = await stow(self.web, self.made.same_image)
        assert response.status_code == 200
        url = response.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
        try:
            shown = image_of(await self.get(f"{url}/rendered", "image/png", 200))
        finally:
            await self.web.delete(url)
        assert shown is not None
        return shown

    async def check_reencoded(self, metadata: dict[str, Any]) -> None:
        """A transcoded instance has its labelled transfer syntax, its attributes, and the samples of its frames."""
        for syntax in (EXPLICIT_LITTLE, IMPLICIT_LITTLE, RLE_LOSSLESS, JPEG_2000_LOSSLESS):
            response = await self.get("", f"application/dicom; transfer-syntax={syntax}", 200, 406)
            if response.status_code == 406:
                continue
            assert response.headers["content-type"] == f"application/dicom; transfer-syntax={syntax}"
            if response.content != self.made.file:
                check_reencoded(response.content, syntax, metadata)
        frames = []
        while True:
            accept = f"{OCTETS}; transfer-syntax={EXPLICIT_LITTLE}"
            response = await self.get(f"/frames/{len(frames) + 1}", accept, 200, 404, 406)
            if response.status_code != 200:
                break
            frames.append(response.content)
        if self.made.samples is not None:
            assert frames == list(self.made.samples)

    async def check_search(self, base: str) -> None:
        """A search finds it and returns strict JSON."""
        study, series, instance = self.url.split("/studies/")[1].split("/")[::2]
        found = await self.web.get(
            f"{base}/studies/{study}/series/{series}/instances",
            params={"SOPInstanceUID": instance, "includefield": "all"},
            headers=JSON,
        )
        assert found.status_code == 200, found.text
        [match] = strict_json(found)
        check_data_set(match)


def strict_json(response: httpx.Response) -> Any:
    """Return a body as JSON that the strictest parser takes: no NaN, no repeated names, UTF-8."""
    return json.loads(response.content.decode(), parse_constant=_no_constant, object_pairs_hook=_unique)


def _no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    assert len(found) == len(pairs), pairs
    return found


def check_data_set(data_set: dict[str, Any]) -> None:
    """Check a data set against the DICOM JSON model (PS3.18 section F.2)."""
    assert list(data_set) == sorted(data_set)
    for tag, attribute in data_set.items():
        assert _TAG.fullmatch(tag)
        assert not tag.endswith("0000")
        assert not tag.startswith("0002")
        assert _VRS.fullmatch(attribute["vr"])
        assert len(attribute.keys() - {"vr"}) <= 1
        if "Value" in attribute:
            assert attribute["Value"]
        if attribute["vr"] == "SQ":
            for item in attribute.get("Value", []):
                check_data_set(item)


def uris_in(data_set: dict[str, Any]) -> list[str]:
    """Return all bulk data URIs."""
    found = []
    for attribute in data_set.values():
        if "BulkDataURI" in attribute:
            found.append(attribute["BulkDataURI"])
        if attribute["vr"] == "SQ":
            for item in attribute.get("Value", []):
                found += uris_in(item)
    return found


def image_of(response: httpx.Response) -> Image.Image | None:
    """Return the complete image; None if there is none."""
    if response.status_code != 200:
        return None
    image = Image.open(io.BytesIO(response.content))
    image.load()
    return image


_LEFT_OUT = ("0028", "7FE0", "0000", "0002")


def check_reencoded(file: bytes, syntax: str, metadata: dict[str, Any]) -> None:
    """Check that a file has a transfer syntax and the same attributes, except those of its pixels."""
    described = read(file)
    assert described.transfer_syntax_uid == syntax
    found = json_of(described)
    unknown = {tag for tag, attribute in metadata.items() if attribute["vr"] == "UN"}
    assert _comparable(found, unknown) == _comparable(metadata, unknown)


def _comparable(data_set: dict[str, Any], unknown: set[str]) -> dict[str, Any]:
    """Return the elements that transcoding keeps: all except pixels, icons, and groups 0000 and 0002.

    Implicit VR gives attributes of unknown VR that of the data dictionary.
    """
    made = {}
    for tag, attribute in data_set.items():
        if tag.startswith(_LEFT_OUT) or tag in ("00083002", "00880200", *unknown) or int(tag[:4], 16) % 2:
            continue
        if attribute["vr"] == "SQ":
            made[tag] = [_comparable(item, unknown) for item in attribute.get("Value", [])]
        elif "BulkDataURI" in attribute:
            made[tag] = "bulk"
        else:
            made[tag] = attribute.get("Value", attribute.get("InlineBinary"))
    return made
