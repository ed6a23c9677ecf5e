"""The jobs of worker processes. Arrays and codecs are imported here, when the first job needs them."""

from server.model.pixels import TranscodeFrame
from server.model.rendering import DrawIcon, RenderFrame


def perform(job: object) -> bytes:
    """Run a job of `server/model` and return its result.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, the pixel data is damaged or contradicts the Image Pixel attributes;
            NOT_RENDERABLE, it cannot be rendered.
    """
    if isinstance(job, TranscodeFrame):
        from server.dicom.pixel_data.codecs.transcode import transcode_frame

        return transcode_frame(job)
    if isinstance(job, RenderFrame):
        from server.dicom.rendering import render

        return render(job)
    if isinstance(job, DrawIcon):
        from server.dicom.rendering import draw_icon

        return draw_icon(job)
    raise TypeError(f"no handler for jobs of type {type(job).__name__}")
