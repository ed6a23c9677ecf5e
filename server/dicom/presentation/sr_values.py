"""Values of the content items of a Structured Report in HTML, one function per value type (PS3.3 section C.17.3).

The functions return HTML in which all content of the data set is escaped.
"""

import re
from collections.abc import Callable, Mapping
from html import escape

from pydicom.config import IGNORE
from pydicom.uid import UID

from server.dicom.elements.canonical_json import Attributes, items, values
from server.dicom.elements.plain_text import (
    code_value_of,
    date_of,
    date_time_of,
    first_item,
    meaning_of,
    numbers_text,
    text_of,
    time_of,
)

_CODE = "0040A168"
_MEASURED_VALUE = "0040A300"
_UNITS = "004008EA"
_QUALIFIER = "0040A301"
_REFERENCED_SOP = "00081199"

_MAX_NUMBERS = 24
_MAX_CELLS = 2000
_CONTROLS = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

Value = Callable[[Attributes], str]


def safe(text: str) -> str:
    """Escape text for use in an HTML element or between double quotes."""
    return escape(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text))


def coded(code: Attributes) -> str:
    """Return a code: its meaning, with value and scheme as tooltip."""
    meaning = meaning_of(code)
    if not meaning:
        return ""
    scheme = text_of(code, "00080102")
    return f'<span class="code" title="{safe(f"{code_value_of(code)}, {scheme}")}">{safe(meaning)}</span>'


def value_html(item: Attributes) -> str:
    """Return the value of a content item; empty for containers and items without value."""
    shown = VALUES.get(text_of(item, "0040A040"))
    return shown(item) if shown else ""


def _text(item: Attributes) -> str:
    return f'<span class="text">{safe(text_of(item, "0040A160"))}</span>'


def _code(item: Attributes) -> str:
    return ", ".join(filter(None, map(coded, items(item, _CODE))))


def _number(item: Attributes) -> str:
    """A number with its unit, or the reason why it is missing."""
    measured = first_item(item, _MEASURED_VALUE)
    number = text_of(measured, "0040A30A")
    if not number and (parts := [text_of(measured, tag) for tag in ("0040A162", "0040A163")]) != ["", ""]:
        number = "/".join(parts)
    number = number or text_of(measured, "0040A161")
    shown = f'<span class="number">{safe(number)}</span>{_unit(first_item(measured, _UNITS))}' if number else ""
    return " ".join(filter(None, (shown, coded(first_item(item, _QUALIFIER)))))


def _unit(code: Attributes) -> str:
    """Return the UCUM form of a unit if that is in common use, else its meaning."""
    value, is_ucum = code_value_of(code), text_of(code, "00080102") == "UCUM"
    if is_ucum and value == "1":
        return ""
    if not is_ucum or not value or set("{}[]") & set(value):
        value = meaning_of(code)
    return f' <span class="unit" title="{safe(meaning_of(code))}">{safe(value)}</span>' if value else ""


def _plain(read: Callable[[Attributes, str], str], tag: str) -> Value:
    return lambda item: safe(read(item, tag))


def _reference(item: Attributes) -> str:
    """Composite objects, images and waveforms: their class, and the referenced parts."""
    return "; ".join(_object(reference) for reference in items(item, _REFERENCED_SOP))


def _object(reference: Attributes) -> str:
    class_uid, uid = text_of(reference, "00081150"), text_of(reference, "00081155")
    name = UID(class_uid, IGNORE).name if class_uid else "Object"
    parts = [
        f"{label} {numbers_text(found, _MAX_NUMBERS)}"
        for label, tag in (("frame", "00081160"), ("segment", "0062000B"), ("channel", "0040A0B0"))
        if (found := values(reference, tag))
    ]
    shown = ", ".join([name.removesuffix(" Storage"), *parts])
    return f'{safe(shown)} <span class="uid">{safe(uid)}</span>'


def _coordinates(item: Attributes) -> str:
    """Coordinates in an image or in space: graphic type, number of points, and the first points."""
    width = 3 if text_of(item, "0040A040") == "SCOORD3D" else 2
    numbers = values(item, "00700022")
    points = [numbers_text(numbers[at : at + width], width) for at in range(0, len(numbers), width)]
    shown = " ".join(f"({point})" for point in points[: _MAX_NUMBERS // width])
    more = f" … ({len(points)} points)" if len(points) > _MAX_NUMBERS // width else ""
    frame = text_of(item, "30060024")
    where = f' <span class="uid">{safe(frame)}</span>' if frame else ""
    return f"{safe(text_of(item, '00700023').capitalize())} {safe(shown + more)}{where}"


def _temporal_coordinates(item: Attributes) -> str:
    """Temporal coordinates: by sample, by offset in seconds, or by date."""
    kinds = (("samples", "0040A132"), ("seconds", "0040A138"), ("at", "0040A13A"))
    parts = [f"{label} {numbers_text(found, _MAX_NUMBERS)}" for label, tag in kinds if (found := values(item, tag))]
    return safe(" ".join([text_of(item, "0040A130").capitalize(), *parts]))


def _table(item: Attributes) -> str:
    """Cells by row and column, or a note if the table is too large for the page."""
    table = first_item(item, "0040A801")
    cells = items(table, "0040A808")
    columns = [_defined(column) for column in items(table, "0040A807")]
    rows = [_defined(row) for row in items(table, "0040A806")]
    if not cells or len(cells) > _MAX_CELLS:
        return safe(f"Table of {text_of(table, '0040A802')} rows and {text_of(table, '0040A803')} columns")
    of_row: dict[str, list[str]] = {}
    for cell in cells:
        of_row.setdefault(text_of(cell, "0040A804"), []).append(f"<td>{value_html(cell) or _code(cell)}</td>")
    names = [*(f'<th scope="row">{row}</th>' for row in rows), *[""] * len(of_row)]
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    corner = "<td></td>" if rows and columns else ""
    lines = [f"<tr>{name}{''.join(row)}</tr>" for name, row in zip(names, of_row.values(), strict=False)]
    return f"<table><tr>{corner}{head}</tr>{''.join(lines)}</table>"


def _defined(definition: Attributes) -> str:
    return coded(first_item(definition, "0040A043"))


VALUES: Mapping[str, Value] = {
    "TEXT": _text,
    "CODE": _code,
    "NUM": _number,
    "PNAME": _plain(text_of, "0040A123"),
    "DATE": _plain(date_of, "0040A121"),
    "TIME": _plain(time_of, "0040A122"),
    "DATETIME": _plain(date_time_of, "0040A120"),
    "UIDREF": _plain(text_of, "0040A124"),
    "COMPOSITE": _reference,
    "IMAGE": _reference,
    "WAVEFORM": _reference,
    "SCOORD": _coordinates,
    "SCOORD3D": _coordinates,
    "TCOORD": _temporal_coordinates,
    "TABLE": _table,
}
"""By Value Type (0040,A040)."""
