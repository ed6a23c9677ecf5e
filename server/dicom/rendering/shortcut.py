"""Frames that are stored as what is asked for."""

from server.dicom.pixel_data.codecs.headers import read_jpeg
from server.dicom.pixel_data.codecs.syntaxes import JPEG_BASELINE
from server.dicom.presentation.image_size import Placement
from server.dicom.rendering.formats.jpeg import PROFILE_HEAD, with_profile
from server.dicom.rendering.icc_profiles import own_profile
from server.model.rendering import IccProfile, ImageFormat, RenderFrame

_BEST_QUALITY = 100
_UNCONVERTED_PROFILES = frozenset({IccProfile.IF_PRESENT, IccProfile.NO, IccProfile.YES})


def stored_jpeg(job: RenderFrame, place: Placement) -> bytes | None:
    """Return the frame's own codestream, if it is the picture: a second encoding would only lose and cost.

    That are colours in baseline JPEG, wanted whole, with nothing on them, in the best quality that can be had.
    """
    output, description = job.output, job.description
    size = (description.columns, description.rows)
    if (
        job.source != JPEG_BASELINE
        or output.format is not ImageFormat.JPEG
        or output.quality < _BEST_QUALITY
        or output.icc_profile not in _UNCONVERTED_PROFILES
        or output.annotations
        or job.presentation.overlays
        or description.samples_per_pixel == 1
        or place != Placement(0, 0, *size, *size)
    ):
        return None
    coded = read_jpeg(job.data)
    if (coded.columns, coded.rows, coded.samples, coded.precision) != (*size, 3, 8):
        return None
    if not coded.colour and not description.photometric_interpretation.startswith("YBR_FULL"):
        return None  # viewers would take it for YCbCr, as it doesn't say that it isn't
    has_profile = PROFILE_HEAD in job.data
    if output.icc_profile is IccProfile.NO:
        return None if has_profile else job.data
    return (
        job.data
        if has_profile
        else with_profile(job.data, own_profile(output.icc_profile, job.presentation.icc_profile))
    )
