"""Objects of every kind at every rendered URL: always a defined response, never a server error."""

import io
import warnings
from typing import Any

import httpx
import pydicom
import pytest
from PIL import Image

from tests.corpus import corpus
from tests.data import dataset, file_of, new_uid, part10
from tests.integration.facade.serving import parts_of, stow

pytestmark = pytest.mark.asyncio(loop_scope="module")

STORAGE = "1.2.840.10008.5.1.4.1.1"
BROWSERS = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
    "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
)
ACCEPTS = (
    *("", "*/*", "image/jpeg", "image/png", "image/gif", "image/*", "image/", *BROWSERS),
    'multipart/related; type="image/jpeg"',
    'multipart/related; type="*/*"',
    "multipart/related; type=application/octet-stream; transfer-syntax=*",
    *("application/pdf", "video/mp4", "video/*;q=0.8, text/plain", "application/jpeg", "nonsense"),
)
"""Accept headers of real clients and browsers."""

FEW_ACCEPTS = ("", BROWSERS[1])

FILES = (
    *("17106", "693_J2KR.dcm", "JPEG-LL.dcm", "JPEG-lossy.dcm", "JPEG2000.dcm"),
    *("JPGLosslessP14SV1_1s_1f_8b.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_jpeg_ls_lossless.dcm"),
    *("OBXXXX1A_rle_2frame.dcm", "SC_rgb_16bit_2frame.dcm", "SC_rgb_32bit.dcm"),
    *("SC_rgb_dcmtk_+eb+cy+s2.dcm", "SC_rgb_gdcm_KY.dcm", "SC_rgb_rle_32bit_2frame.dcm", "SC_rgb_small_odd.dcm"),
    *("SC_ybr_full_422_uncompressed.dcm", "eCT_Supplemental.dcm", "emri_small.dcm", "emri_small_jpeg_ls_lossless.dcm"),
    *("examples_palette.dcm", "examples_ybr_color.dcm", "image_dfl.dcm", "liver.dcm", "liver_expb_1frame.dcm"),
    *("rtdose.dcm", "rtdose_rle.dcm", "CT_small.dcm", "gdcm-US-ALOKA-16_big.dcm"),
)
"""Images of the corpus: each transfer syntax, photometric interpretation and size of words."""

OTHERS = (
    *("IM000000", "chrFren.dcm", "rtplan.dcm", "test-SR.dcm", "reportsi.dcm", "waveform_ecg.dcm"),
    *("CT_small.dcm", "emri_small.dcm", "examples_ybr_color.dcm"),
    *("rtdose.dcm", "JPEG-lossy.dcm"),
)


def level() -> dict[str, str]:
    return {"StudyInstanceUID": new_uid(), "SeriesInstanceUID": new_uid()}


def bare(sop_class: str, **attributes: Any) -> bytes:
    """Return an object that says hardly anything."""
    return file_of(dataset(**({"SOPClassUID": STORAGE + sop_class} | level() | attributes)))


def coded(syntax: str, body: bytes, **attributes: Any) -> bytes:
    described = {"Rows": 16, "Columns": 16, "NumberOfFrames": 40}
    return part10(transfer_syntax=syntax, fragments=[[body]], **(described | level() | attributes))


BARE_CLASSES = (
    *(".11.1", ".11.2", ".66", ".66.1", ".66.4", ".66.5", ".67", ".68.1", ".91.1", ".481.3", ".481.5", ".481.9"),
    *(".9.1.1", ".88.11", ".88.22", ".88.59", ".88.67", ".104.1", ".104.3", ".4.2", ".30", ".2", ".77.1.6", ".200.2"),
)
MADE = {
    **{f"bare{sop_class}": bare(sop_class) for sop_class in BARE_CLASSES},
    "private": bare("", SOPClassUID="1.2.3.4.5"),
    "report of a private class": bare("", SOPClassUID="1.2.3.4.5", ValueType="CONTAINER", ContentSequence=[dataset()]),
    "pdf": bare(".104.1", MIMETypeOfEncapsulatedDocument="application/pdf", EncapsulatedDocument=b"%PDF" * 900),
    "cda": bare(".104.2", MIMETypeOfEncapsulatedDocument="text/XML", EncapsulatedDocument=b"<x/>"),
    "mpeg2": coded("1.2.840.10008.1.2.4.100", b"video" * 99),
    "h264": coded("1.2.840.10008.1.2.4.102", b"video" * 99),
    "hevc": coded("1.2.840.10008.1.2.4.107", b"video" * 99),
    "no fragments": coded("1.2.840.10008.1.2.4.102", b""),
    "unknown syntax": coded("1.2.840.10008.1.2.4.94", b"what"),
    "no JPEG": coded("1.2.840.10008.1.2.4.50", b"\xff\xd8\xff broken"),
    "no size": part10(frames=[b"1234"], Rows=None, Columns=None, **level()),
    "too short": part10(frames=[b"1234"], Rows=40, Columns=40, NumberOfFrames=3, **level()),
    "no bits": part10(frames=[b"1234"], BitsAllocated=0, **level()),
    "odd bits": part10(frames=[b"1234"], BitsAllocated=12, BitsStored=12, **level()),
    "huge": part10(frames=[b"1234"], Rows=65535, Columns=65535, BitsAllocated=16, **level()),
    "strange colours": part10(frames=[b"1234"], PhotometricInterpretation="HSV", **level()),
    "palette without tables": part10(frames=[b"1234"], PhotometricInterpretation="PALETTE COLOR", **level()),
    "strange window": part10(frames=[b"1234"], WindowCenter="1e30", WindowWidth="0", RescaleSlope="0", **level()),
}


def file_named(name: str) -> bytes:
    return next(path for path in corpus() if path.name == name).read_bytes()


def urls_of(body: bytes) -> tuple[str, str, str]:
    """Return the URLs of a file's study, series and instance."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(io.BytesIO(body), stop_before_pixels=True)
    study = f"/v2/studies/{header.StudyInstanceUID}"
    series = f"{study}/series/{header.SeriesInstanceUID}"
    return study, series, f"{series}/instances/{header.SOPInstanceUID}"


def pictures_in(response: httpx.Response) -> list[Any]:
    """Decode the images of a response."""
    label = response.headers["content-type"]
    bodies = parts_of(response) if label.startswith("multipart/") else [(label, response.content)]
    shown = [Image.open(io.BytesIO(body)) for label, body in bodies if label.startswith("image/")]
    for image in shown:
        image.load()
    return shown


@pytest.mark.parametrize("name", [*OTHERS, *MADE])
async def test_every_rendered_url_has_a_defined_answer(shared_web: httpx.AsyncClient, name: str) -> None:
    body = MADE[name] if name in MADE else file_named(name)
    assert (await stow(shared_web, body)).status_code in (200, 202, 409)
    study, series, instance = urls_of(body)

    async def get(url: str, accept: str) -> httpx.Response:
        response = await shared_web.get(url, headers={"Accept": accept})
        assert response.status_code in (200, 404, 406), (url, accept, response.text)
        if response.status_code == 200:
            pictures_in(response)
        return response

    for accept in ACCEPTS:
        await get(f"{instance}/rendered", accept)
    for url in (
        *(f"{instance}/frames/1/rendered", f"{instance}/frames/1/thumbnail", f"{instance}/frames/1,1/rendered"),
        *(f"{instance}/rendered/1", f"{instance}/thumbnail/1", f"{series}/rendered", f"{study}/rendered"),
    ):
        for accept in FEW_ACCEPTS:
            await get(url, accept)
    for query in ("window=40,400,linear", "viewport=32,32,1,1,4,4", "iccprofile=srgb", "annotation=patient,technique"):
        await get(f"{instance}/rendered?{query}", "")
    for url in (instance, series, study):
        [shown] = pictures_in(await get(f"{url}/thumbnail?viewport=64,64&accept=image/jpeg", ACCEPTS[11]))
        assert 0 < max(shown.size) <= 64


@pytest.mark.parametrize("name", FILES)
async def test_every_image_is_rendered_frame_by_frame(shared_web: httpx.AsyncClient, name: str) -> None:
    body = file_named(name)
    await stow(shared_web, body)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(io.BytesIO(body), stop_before_pixels=True)
    url, count = urls_of(body)[2], int(header.get("NumberOfFrames") or 1)

    [still] = pictures_in(await shared_web.get(f"{url}/rendered?accept=image/png"))
    assert still.size[0] >= header.Columns
    assert still.size[1] >= header.Rows
    last = await shared_web.get(f"{url}/frames/{count}/rendered")
    assert last.status_code == 200
    if count > 1:
        for media_type in ("image/gif", "image/apng"):
            [moving] = pictures_in(await shared_web.get(f"{url}/rendered?accept={media_type}"))
            assert moving.n_frames == count
            assert moving.size == still.size
