"""What worker processes do. Only there are arrays and codecs imported, and only when the first job needs them."""

from server.model.pixels import TranscodeFrame


def perform(job: object) -> bytes:
    """Do a job of `server/model` and return its result.

    Raises:
        WrongState: PIXEL_DATA_UNREADABLE, the pixel data is damaged or contradicts its description.
    """
    if isinstance(job, TranscodeFrame):
        from server.dicom.codecs.transcode import transcode_frame

        return transcode_frame(job)
    raise TypeError(f"nobody here does {type(job).__name__}")
