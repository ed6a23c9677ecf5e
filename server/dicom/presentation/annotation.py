"""Lines of text to burn into an image (PS3.18 section 8.3.5.1.1). They contain patient data by definition."""

from server.dicom.elements.canonical_json import Attributes
from server.dicom.elements.plain_text import date_and_time_of, date_of, text_of
from server.model.rendering import Window


def patient_lines(attributes: Attributes) -> tuple[str, ...]:
    """Return the patient annotation: name, identifier, birth date and sex."""
    born = (date_of(attributes, "00100030"), text_of(attributes, "00100040"))
    lines = (text_of(attributes, "00100010"), text_of(attributes, "00100020"), " ".join(filter(None, born)))
    return tuple(filter(None, lines))


def technique_lines(attributes: Attributes, frame: int, window: Window | None) -> tuple[str, ...]:
    """Return the technique annotation: modality, dates, numbers and window.

    frame: frame number of a multi-frame image, else 0.
    """
    study = (text_of(attributes, "00080060"), date_and_time_of(attributes, "00080020", "00080030"))
    taken = date_and_time_of(attributes, "00080022", "00080032") or date_and_time_of(attributes, "00080023", "00080033")
    numbers = (("Se", text_of(attributes, "00200011")), ("Im", text_of(attributes, "00200013")), ("Fr", frame or ""))
    lines = (
        " ".join(filter(None, study)),
        f"Acquired {taken}" if taken else "",
        " ".join(f"{name} {number}" for name, number in numbers if number),
        f"W {window.width:g} C {window.center:g}" if window else "",
    )
    return tuple(filter(None, lines))
