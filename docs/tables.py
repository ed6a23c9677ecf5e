"""Tables of the pages that are written by hand, made from the code that they describe.

A page holds each table between `<!-- table: NAME -->` and `<!-- end -->`; `docs/generate.py` puts it there.
"""

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from dicomstore.v1.store_service_pb2 import ValidationMode
from pydicom.charset import python_encoding
from pydicom.uid import UID

from facade.accept import STORED, Offer, negotiate, parse_accept
from facade.catalogue import CATALOGUE, Resource
from facade.endpoints import (
    bulk_data,
    change_feed,
    delete,
    health,
    metadata,
    openapi,
    partitions,
    qido,
    rendered,
    stow,
    wado,
    wado_uri,
)
from facade.routes import BARE, DICOM, SERVICE, Row
from facade.versions import ALL_ATTRIBUTES, INSTANCE, SERIES, STUDY, VERSIONS, ApiVersion
from server.dicom import syntax
from server.dicom.attributes import SEARCH_KEYS, SearchKey
from server.dicom.keywords import path_of
from server.dicom.matching import WILDCARD_VRS
from server.dicom.reencode import can_reencode
from server.domain.retrieve_instances import ENCODABLE

_CONVERTOR = re.compile(r":\w+}")
_PLACE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: Path) -> str:
    """Return a page with all its tables made anew. Raises KeyError for a table that is not in `TABLES`."""
    return _PLACE.sub(lambda place: f"{place[1]}\n{TABLES[place[2]]()}\n\n{place[3]}", page.read_text())


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(headings)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines).replace("|  |", "| |").replace("|  |", "| |")


# ---------------------------------------------------------------------------------------------------------------------
# Resources and versions

_MEANINGS: Mapping[Any, str] = {
    stow.store: "[store](#storing)",
    wado.instances: "[retrieve](#retrieving-instances)",
    wado.frames: "[retrieve frames](#frames)",
    wado_uri.retrieve: "[one object by query](#wado-uri)",
    rendered.rendered: "[render](#pictures-and-documents)",
    rendered.rendered_frames: "[render frames](#pictures-and-documents)",
    rendered.thumbnail: "[thumbnail](#pictures-and-documents)",
    metadata.metadata: "[retrieve metadata](#metadata)",
    bulk_data.bulk_data: "[retrieve a value](#bulk-data)",
    qido.all_studies: "[search](#searching) studies",
    qido.all_series: "[search](#searching) series",
    qido.all_instances: "[search](#searching) instances",
    qido.series_of_study: "[search](#searching) series of the study",
    qido.instances_of_study: "[search](#searching) instances of the study",
    qido.instances_of_series: "[search](#searching) instances of the series",
    delete.delete: "[delete](#deleting)",
    change_feed.changes: "[list changes](#change-feed)",
    change_feed.latest_change: "[newest change](#change-feed)",
    partitions.partitions: "[list partitions](#partitions)",
    health.health: "[health](#health)",
    openapi.as_json: "[OpenAPI](#openapi) as JSON",
    openapi.as_yaml: "[OpenAPI](#openapi) as YAML",
}


def _paths(rows: Iterable[Row]) -> str:
    methods = ("GET", "POST", "DELETE")
    assert all(set(row.methods) <= set(methods) for row in (*DICOM, *SERVICE, *BARE))
    return _table(
        ["path", *methods],
        (
            [
                f"`{_CONVERTOR.sub('}', row.path)}`",
                *(_MEANINGS[row.methods[method]] if method in row.methods else "" for method in methods),
            ]
            for row in rows
        ),
    )


_VALIDATION = {
    ValidationMode.VALIDATION_MODE_INDEXED_STRICT: "an invalid searchable one fails the instance",
    ValidationMode.VALIDATION_MODE_LENIENT: "only an invalid required one fails the instance",
}

_VERSION_ROWS: Mapping[str, tuple[str, Callable[[ApiVersion], str]]] = {
    "validation": (
        "[values](#what-is-stored-and-what-fails) when storing",
        lambda version: _VALIDATION[version.validation],
    ),
    "status_with_warnings": (
        "status if all is stored, some with a Warning Reason",
        lambda version: str(version.status_with_warnings),
    ),
    "lists_findings_of_stored": (
        "Failed Attributes Sequence (0074,1048) in stored items",
        lambda version: "always, perhaps empty" if version.lists_findings_of_stored else "never",
    ),
    "returned_attributes": (
        "attributes that a search returns",
        lambda version: "[many](#returned-attributes)" if version.name == "v1" else "[few](#returned-attributes)",
    ),
    "feed_limit_default": ("change feed: default `limit`", lambda version: str(version.feed_limit_default)),
    "feed_limit_maximum": ("change feed: largest `limit`", lambda version: str(version.feed_limit_maximum)),
    "feed_is_paged_by_rows": (
        "change feed: `offset` and `limit`",
        lambda version: (
            "count entries; also `startTime`, `endTime`"
            if version.feed_is_paged_by_rows
            else "`offset` < sequence ≤ `offset` + `limit`"
        ),
    ),
}


def _versions() -> str:
    assert {field.name for field in fields(ApiVersion)} == {"name", *_VERSION_ROWS}
    rows = ([text, *(cell(version) for version in VERSIONS.values())] for text, cell in _VERSION_ROWS.values())
    return _table(["", *(f"`/{name}`" for name in VERSIONS)], rows)


# ---------------------------------------------------------------------------------------------------------------------
# What can be retrieved

_LINE = 140
_DICOM_PARTS = 'multipart/related; type="application/dicom"'
_OCTET_PARTS = 'multipart/related; type="application/octet-stream"'
_EXPLICIT = "; transfer-syntax=1.2.840.10008.1.2.1"
_JPEG_2000 = "; transfer-syntax=1.2.840.10008.1.2.4.90"
_ACCEPTS = {
    Resource.STUDY: (
        *(_DICOM_PARTS, f"{_DICOM_PARTS}; transfer-syntax=*", f"{_DICOM_PARTS}{_EXPLICIT}"),
        *(f"{_DICOM_PARTS}{_JPEG_2000}", "*/*", "application/dicom"),
    ),
    Resource.INSTANCE: ("application/dicom", "application/dicom; transfer-syntax=*", _DICOM_PARTS, "*/*"),
    Resource.FRAMES: (
        *(_OCTET_PARTS, f"{_OCTET_PARTS}; transfer-syntax=*", "application/octet-stream"),
        *('multipart/related; type="image/jp2"', "image/jp2", "*/*"),
    ),
    Resource.BULK_DATA: ("*/*", "application/octet-stream", _OCTET_PARTS, "image/jpeg"),
}
_RESOURCES = {
    Resource.STUDY: "study, series",
    Resource.INSTANCE: "instance",
    Resource.FRAMES: "frames",
    Resource.BULK_DATA: "bulk data",
}


def _accepts() -> str:
    rows = []
    for resource, texts in _ACCEPTS.items():
        for text in texts:
            answer = _answered(negotiate(resource, parse_accept(text)), named=resource is not Resource.BULK_DATA)
            rows.append([_RESOURCES[resource], f"`{text}`", answer])
    return _table(["resource", "Accept", "answer"], rows)


def _answered(offers: list[Offer], *, named: bool) -> str:
    """Say what `offers` lead to; values of bulk data have one encoding whatever is asked for."""
    if not offers:
        return "406"
    [shape] = {f"{'parts' if offer.multipart else 'one body'} of `{offer.media_type}`" for offer in offers}
    if not named:
        return shape
    return f"{shape}: {', else '.join(_syntax_name(offer.transfer_syntax) for offer in offers)}"


def _syntax_name(uid: str) -> str:
    return "as stored" if uid == STORED else UID(uid).name


def _pixel_media_types() -> str:
    rows = (
        [f"`{product.media_type}`", ", ".join(f"`{uid.removeprefix('1.2.840.10008.1.2')}`" for uid in product.syntaxes)]
        for product in CATALOGUE[Resource.FRAMES]
        if product.syntaxes
    )
    return _table(["media type", "transfer syntaxes `1.2.840.10008.1.2…`, the default first"], rows)


def _reencoding() -> str:
    uncompressed = (syntax.IMPLICIT_LITTLE, syntax.EXPLICIT_LITTLE, syntax.DEFLATED, syntax.EXPLICIT_BIG)
    rows = (
        [f"{UID(source).name} `{source}`", *("yes" if can_reencode(source, target) else "no" for target in ENCODABLE)]
        for source in (*uncompressed, "1.2.840.10008.1.2.4.90")
    )
    names = [f"to {UID(target).name} `{target}`" for target in ENCODABLE]
    table = _table(["stored in", *names], rows)
    return table.replace(f"{UID('1.2.840.10008.1.2.4.90').name} `1.2.840.10008.1.2.4.90`", "any other")


# ---------------------------------------------------------------------------------------------------------------------
# Searching

_MATCHINGS = {
    "PN": "name, wildcard, list, fuzzy",
    "UI": "exact, list",
    "DA": "exact, range, list",
    "TM": "exact, range, list",
    "IS": "number, list",
}


def _search_attributes() -> str:
    rows = (
        [key.level.name.lower(), f"`{key.keyword}`", f"`{'.'.join(key.path)}`", key.vr, _matching(key)]
        for key in SEARCH_KEYS.values()
    )
    return _table(["level", "attribute", "tag", "VR", "matching"], rows)


def _matching(key: SearchKey) -> str:
    assert (key.vr in _MATCHINGS) != (key.vr in WILDCARD_VRS - {"PN"})
    return _MATCHINGS.get(key.vr, "exact, wildcard, list")


def _returned_attributes() -> str:
    rows: list[list[str]] = []
    for level, name in ((STUDY, "study"), (SERIES, "series"), (INSTANCE, "instance")):
        sets = [*(version.returned_attributes[level] for version in VERSIONS.values()), ALL_ATTRIBUTES[level]]
        keywords = dict.fromkeys(keyword for keywords in sets for keyword in keywords)
        rows += [
            [name, f"`{keyword}`", *("yes" if keyword in returned else "" for returned in sets)]
            for keyword in sorted(keywords, key=lambda keyword: path_of(keyword) or ())
        ]
    return _table(["level", "attribute", *VERSIONS, "`includefield=all`"], rows)


def _character_sets() -> str:
    terms = [term for term in python_encoding if term]
    single = [term for term in terms if not term.startswith("ISO 2022")]
    extended = [term for term in terms if term.startswith("ISO 2022")]
    kinds = (
        ("Default", ["none, read as ISO 8859-1, which has ISO_IR 6 in it"]),
        ("Without code extensions", single),
        ("With code extensions", extended),
    )
    lines = (textwrap.fill(f"* {kind}: {', '.join(names)}.", _LINE, subsequent_indent="  ") for kind, names in kinds)
    return "\n".join(lines)


TABLES: Mapping[str, Callable[[], str]] = {
    "dicom-paths": lambda: _paths(DICOM),
    "service-paths": lambda: _paths((*SERVICE, *BARE)),
    "versions": _versions,
    "accepts": _accepts,
    "pixel-media-types": _pixel_media_types,
    "reencoding": _reencoding,
    "search-attributes": _search_attributes,
    "returned-attributes": _returned_attributes,
    "character-sets": _character_sets,
}
"""By the name that a page uses."""
