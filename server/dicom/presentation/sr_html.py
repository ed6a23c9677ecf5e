"""A Structured Report as an HTML page without scripts (PS3.3 sections A.35 and C.17, PS3.18 section 8.3.5).

The page is self-contained: it loads nothing and runs nothing, and all content of the data set is escaped.
"""

from collections.abc import Iterator, Mapping

from server.dicom.elements.canonical_json import Attributes, items
from server.dicom.elements.plain_text import date_and_time_of, date_of, date_time_of, first_item, meaning_of, text_of
from server.dicom.presentation.sr_values import coded, safe, value_html

MAX_DEPTH = 64
"""Maximum depth of displayed content."""

MAX_ITEMS = 20_000
"""Maximum number of displayed content items."""

_CONTENT = "0040A730"
_CONCEPT = "0040A043"
_VALUE_TYPE = "0040A040"
_RELATIONSHIP = "0040A010"
_CODE = "0040A168"
_OBSERVED = "0040A032"
_BY_REFERENCE = "0040DB73"
_VERIFYING_OBSERVERS = "0040A073"
_LANGUAGE_OF_CONTENT = ("121049", "DCM")

_RELATIONSHIPS: Mapping[str, str] = {
    "HAS OBS CONTEXT": "observation context",
    "HAS ACQ CONTEXT": "acquisition context",
    "HAS CONCEPT MOD": "modifier",
    "HAS PROPERTIES": "property",
    "INFERRED FROM": "inferred from",
    "SELECTED FROM": "selected from",
}
"""Texts of relationship types other than CONTAINS (PS3.3 Table C.17.3-8)."""

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 0 auto; padding: 1.5rem; }
header { border-bottom: 2px solid; margin-bottom: 1.5rem; padding-bottom: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; }
h2, h3, h4, h5, h6 { font-size: 1.05rem; line-height: 1.3; margin: 1.25rem 0 .25rem; }
h2 { font-size: 1.25rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0; }
dt, .name { color: color-mix(in srgb, currentColor 70%, transparent); }
dd { margin: 0; overflow-wrap: anywhere; }
ul { list-style: none; margin: 0; padding-left: 1.25rem; }
ul { border-left: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
main > ul { border: 0; padding: 0; }
li { margin: .25rem 0; overflow-wrap: anywhere; }
.text { white-space: pre-wrap; }
.number { font-weight: 600; font-variant-numeric: tabular-nums; }
.relation, .uid, .note { font-size: .8rem; color: color-mix(in srgb, currentColor 65%, transparent); }
.relation { border: 1px solid; border-radius: .6rem; padding: 0 .4rem; }
table { border-collapse: collapse; } th, td { border: 1px solid; padding: .15rem .5rem; text-align: left; }
@media print { body { max-width: none; padding: 0; } }
"""


def report_html(attributes: Attributes) -> Iterator[str]:
    """Yield the page of a report in pieces.

    attributes: the data set as DICOM JSON. Content deeper than `MAX_DEPTH`, or beyond `MAX_ITEMS`, is omitted, with a
        note in the page.
    """
    title = safe(meaning_of(first_item(attributes, _CONCEPT)) or "Structured Report")
    yield f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f"<style>{_STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n<dl>\n"
    for name, value in _header(attributes):
        if value:
            yield f"<dt>{name}</dt><dd>{safe(value)}</dd>\n"
    yield f"</dl>\n</header>\n<main{_language(attributes)}>\n"
    yield from _Content().children(attributes, "1", 1)
    yield "</main>\n</body>\n</html>\n"


def _header(attributes: Attributes) -> Iterator[tuple[str, str]]:
    """Yield the header of the page: patient, study, and completion and verification state."""
    yield "Patient", text_of(attributes, "00100010")
    yield "Patient ID", text_of(attributes, "00100020")
    yield "Birth date", date_of(attributes, "00100030")
    yield "Sex", text_of(attributes, "00100040")
    yield (
        "Study",
        " · ".join(
            filter(None, (date_and_time_of(attributes, "00080020", "00080030"), text_of(attributes, "00081030")))
        ),
    )
    yield "Accession number", text_of(attributes, "00080050")
    yield "Series", text_of(attributes, "0008103E")
    yield "Referring physician", text_of(attributes, "00080090")
    yield "Institution", text_of(attributes, "00080080")
    yield "Date", date_and_time_of(attributes, "00080023", "00080033")
    state = (text_of(attributes, tag).capitalize() for tag in ("0040A491", "0040A493", "0040A496"))
    yield "State", ", ".join(filter(None, state))
    for observer in items(attributes, _VERIFYING_OBSERVERS):
        parts = (text_of(observer, "0040A075"), text_of(observer, "0040A027"), date_time_of(observer, "0040A030"))
        yield "Verified by", ", ".join(filter(None, parts))


def _language(attributes: Attributes) -> str:
    """Return the language of the content as an HTML attribute, if it is stated (PS3.16 TID 1204)."""
    for item in items(attributes, _CONTENT):
        name = first_item(item, _CONCEPT)
        if (text_of(name, "00080100"), text_of(name, "00080102")) == _LANGUAGE_OF_CONTENT:
            tag = text_of(first_item(item, _CODE), "00080100")
            if tag.replace("-", "").isalnum() and tag.isascii():
                return f' lang="{tag}"'
    return ""


class _Content:
    """Writes and counts content items."""

    def __init__(self) -> None:
        self._left = MAX_ITEMS

    def children(self, parent: Attributes, number: str, depth: int) -> Iterator[str]:
        """Yield the child items of an item; `number` is its position in the tree, as in by-reference relationships."""
        found = items(parent, _CONTENT)
        if not found:
            return
        if depth > MAX_DEPTH:
            yield '<p class="note">More deeply nested content is not shown.</p>\n'
            return
        yield "<ul>\n"
        for at, item in enumerate(found, 1):
            if not self._left:
                yield f'<li class="note">{len(found) - at + 1} more items are not shown.</li>\n'
                break
            self._left -= 1
            yield from self._item(item, f"{number}.{at}", depth)
        yield "</ul>\n"

    def _item(self, item: Attributes, number: str, depth: int) -> Iterator[str]:
        name, relation = coded(first_item(item, _CONCEPT)), _relation(item)
        place = f'id="item-{number}"'
        if text_of(item, _VALUE_TYPE) == "CONTAINER":
            level = min(depth + 1, 6)
            heading = f"<h{level}>{name}{relation}</h{level}>" if name or relation else ""
            yield f"<li {place}>{heading}\n"
        else:
            label = f'<span class="name">{name}:</span> ' if name else ""
            yield f"<li {place}>{label}{value_html(item)}{_seen(item)}{relation}\n"
        yield from self.children(item, number, depth + 1)
        yield "</li>\n"


def _relation(item: Attributes) -> str:
    """Return the relationship of an item to its parent, and the target of a by-reference relationship."""
    relation = _RELATIONSHIPS.get(text_of(item, _RELATIONSHIP), "")
    shown = f' <span class="relation">{relation}</span>' if relation else ""
    target = text_of(item, _BY_REFERENCE, ".")
    if target.replace(".", "").isdecimal():
        shown += f' <a href="#item-{target}">item {target}</a>'
    return shown


def _seen(item: Attributes) -> str:
    moment = date_time_of(item, _OBSERVED)
    return f' <span class="note">({safe(moment)})</span>' if moment else ""


def report_page(attributes: Attributes) -> bytes:
    """Return the complete page of a report in UTF-8."""
    return "".join(report_html(attributes)).encode("utf-8", "replace")
